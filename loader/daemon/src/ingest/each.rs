//! One piece of work for each of many files, on several threads, with a line that shows how far it is.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);

/// What is done so far.
#[derive(Default)]
pub struct Done {
    /// Files.
    pub files: AtomicU64,
    /// Bytes.
    pub bytes: AtomicU64,
}

/// Does `work` for each item and gives the results in the items' order.
///
/// * `show`: called on the caller's thread, now and then.
pub fn each<T: Sync, R: Send>(
    items: &[T],
    jobs: NonZeroUsize,
    done: &Done,
    mut show: impl FnMut(u64, u64),
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let run = || {
        while let Some((at, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
        {
            let result = work(item);
            done.files.fetch_add(1, Ordering::Relaxed);
            results.lock().expect("no one panics with it").push((at, result));
        }
    };
    let watcher = thread::current();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::scope(|scope| (0..jobs.get().min(items.len())).for_each(|_| drop(scope.spawn(run))));
            ended.store(true, Ordering::Release);
            watcher.unpark();
        });
        while !ended.load(Ordering::Acquire) {
            show(done.files.load(Ordering::Relaxed), done.bytes.load(Ordering::Relaxed));
            thread::park_timeout(TICK);
        }
    });
    let mut results = results.into_inner().expect("no one panics with it");
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_whoever_was_first() {
        let items: Vec<u64> = (0..200).collect();
        let done = Done::default();
        let jobs = NonZeroUsize::new(7).expect("not zero");
        let doubled = each(
            &items,
            jobs,
            &done,
            |_, _| (),
            |item| {
                thread::sleep(Duration::from_micros(200 - item));
                item * 2
            },
        );
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(done.files.load(Ordering::Relaxed), 200);
        assert!(each(&[], jobs, &done, |_, _| (), |item: &u8| *item).is_empty());
    }
}
