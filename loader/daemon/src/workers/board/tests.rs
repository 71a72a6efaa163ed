use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::*;

/// A piece of work: its home, where it has one, and its number.
type Work = (Option<usize>, u32);

fn board(homes: usize) -> (flume::Sender<Work>, Arc<Board<Work>>) {
    let (send, coming) = flume::unbounded();
    (send, Arc::new(Board::new(homes, coming, |work| work.0)))
}

fn put(send: &flume::Sender<Work>, works: impl IntoIterator<Item = Work>) {
    works.into_iter().for_each(|work| send.send(work).expect("the board is there"));
}

/// Waits until `taken` pieces of work that belong somewhere were taken, and `threads` sleep or listen.
fn settled(board: &Board<Work>, taken: u64, threads: usize) {
    let idle = |state: &State<Work>| {
        let asleep = state.homes.iter().map(|threads| threads.asleep).sum::<usize>();
        asleep + usize::from(state.is_listening) == threads
    };
    while board.taken().0 + board.taken().1 < taken || !idle(&board.lock()) {
        thread::yield_now();
    }
}

#[test]
fn a_thread_takes_its_homes_work_then_anybodys_and_anothers_last() {
    let (send, board) = board(2);
    put(&send, [(Some(1), 0), (None, 1), (Some(0), 2), (Some(1), 3), (Some(0), 4), (None, 5), (Some(7), 6)]);
    let taken: Vec<_> = (0..7).map(|_| board.take(0).expect("there is more").1).collect();
    assert_eq!(
        taken,
        [1, 2, 4, 5, 6, 0, 3],
        "its own and anybody's by age: nobody starves; one of no known home is anybody's"
    );
    assert_eq!(board.taken(), (2, 2));
}

#[test]
fn work_goes_to_the_thread_that_is_at_home_and_asleep() {
    let (send, board) = board(2);
    let threads: Vec<_> = [0, 1]
        .map(|home| (home, Arc::clone(&board)))
        .into_iter()
        .map(|(home, board)| {
            thread::spawn(move || {
                let mut taken = Vec::new();
                while let Some(work) = board.take(home) {
                    taken.push(work);
                }
                taken
            })
        })
        .collect();
    for number in 0..200 {
        settled(&board, number.into(), 2);
        put(&send, [(Some(number as usize / 3 % 2), number)]);
    }
    settled(&board, 200, 2);
    drop(send);
    for (home, thread) in threads.into_iter().enumerate() {
        assert!(thread.join().expect("it ends").iter().all(|work| work.0 == Some(home)));
    }
    assert_eq!(board.taken(), (200, 0));
}

#[test]
fn one_busy_home_does_not_idle_the_other() {
    let (send, board) = board(2);
    let both = Arc::new(Barrier::new(2));
    let threads: Vec<_> = [0, 1]
        .map(|home| (home, Arc::clone(&board), Arc::clone(&both)))
        .into_iter()
        .map(|(home, board, both)| {
            thread::spawn(move || {
                let work = board.take(home);
                both.wait(); // neither goes on before the other has work too
                (work, board.take(home))
            })
        })
        .collect();
    settled(&board, 0, 2);
    put(&send, [(Some(0), 0), (Some(0), 1)]);
    drop(send);
    let taken: BTreeSet<_> = threads.into_iter().map(|thread| thread.join().expect("it ends")).collect();
    assert_eq!(taken, BTreeSet::from([(Some((Some(0), 0)), None), (Some((Some(0), 1)), None)]));
}

#[test]
fn everything_is_taken_once_by_any_threads_in_any_order() {
    for round in 0..20 {
        let (send, board) = board(3);
        let threads: Vec<_> = (0..7)
            .map(|thread| {
                let board = Arc::clone(&board);
                thread::spawn(move || {
                    let mut taken = Vec::new();
                    // One that has not sat down yet takes what comes as ever.
                    taken.extend((thread == 6).then(|| board.coming.recv().ok()).flatten());
                    while let Some(work) = board.take(thread % 3) {
                        if work.1 % 64 == 0 {
                            thread::sleep(Duration::from_micros(50));
                        }
                        taken.push(work);
                    }
                    taken
                })
            })
            .collect();
        for number in 0..2000 {
            let home = [None, Some(0), Some(1), Some(2)][number as usize * 7 % 4];
            put(&send, [(home, number)]);
            if (number + round) % 97 == 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        drop(send);
        let mut taken: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("it ends"))
            .map(|work| work.1)
            .collect();
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..2000));
    }
}

#[test]
fn no_work_is_left_while_threads_sleep() {
    // Each piece is put when the one before is done, so nothing else would wake a thread for it.
    let (send, board) = board(2);
    let (done, told) = flume::unbounded();
    for thread in 0..4 {
        let (board, done) = (Arc::clone(&board), done.clone());
        thread::spawn(move || {
            while let Some(work) = board.take(thread % 2) {
                done.send(work.1).expect("the test waits");
            }
        });
    }
    for number in 0..5000 {
        put(&send, [([None, Some(0), Some(1)][number as usize % 3], number)]);
        assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(number));
    }
}
