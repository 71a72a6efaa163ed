//! Which NUMA nodes decode threads are at home on: as many on each as its processors are worth.

use crate::machine::Machine;

/// A node with decode threads of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its number.
    pub node: u32,
    /// Its processors that this process may use.
    pub processors: Vec<usize>,
    /// How many decode threads are at home here.
    pub threads: usize,
}

/// The nodes that decode threads are at home on; none where all processors are equally near, or nobody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes(Vec<Home>);

impl Homes {
    /// Shares `threads` among the machine's nodes in proportion to the processors that this process may use there. None
    /// where that leaves one node alone with threads.
    pub fn of(machine: &Machine, threads: usize) -> Self {
        let allowed = machine.allowed_processors();
        let usable = |node: u32| {
            let mut processors = machine.node_processors(node);
            processors.retain(|processor| allowed.contains(processor));
            processors
        };
        let nodes: Vec<_> = machine.nodes().into_iter().map(|node| (node, usable(node))).collect();
        let shares =
            shares(threads, &nodes.iter().map(|(_, processors)| processors.len()).collect::<Vec<_>>());
        let homes = nodes.into_iter().zip(shares);
        let homes = homes.map(|((node, processors), threads)| Home { node, processors, threads });
        let homes: Vec<_> = homes.filter(|home| home.threads > 0).collect();
        Self(if homes.len() > 1 { homes } else { Vec::new() })
    }

    /// Whether no thread is at home anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by the number of their node.
    pub fn all(&self) -> &[Home] {
        &self.0
    }

    /// Where the decode thread number `thread` is at home, as a place among [`Self::all`].
    pub(super) fn of_thread(&self, thread: usize) -> Option<usize> {
        let ends = self.0.iter().scan(0, |end, home| {
            *end += home.threads;
            Some(*end)
        });
        ends.into_iter().position(|end| thread < end)
    }

    /// The place of a node among [`Self::all`].
    pub(super) fn of_node(&self, node: u32) -> Option<usize> {
        self.0.iter().position(|home| home.node == node)
    }
}

/// Shares `whole` in proportion to `sizes`, by largest remainder; the first of equals gets more.
fn shares(whole: usize, sizes: &[usize]) -> Vec<usize> {
    let sum = sizes.iter().sum::<usize>().max(1);
    let mut shares: Vec<_> = sizes.iter().map(|size| whole * size / sum).collect();
    let mut order: Vec<_> = (0..sizes.len()).filter(|place| sizes[*place] > 0).collect();
    order.sort_by_key(|place| std::cmp::Reverse(whole * sizes[*place] % sum));
    let missing = whole - shares.iter().sum::<usize>();
    order.into_iter().take(missing).for_each(|place| shares[place] += 1);
    shares
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn planted(nodes: &[&str], allowed: &str) -> (tempfile::TempDir, Machine) {
        let folder = tempfile::tempdir().expect("a folder");
        let plant = |path: String, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        };
        for (node, list) in nodes.iter().enumerate() {
            plant(format!("sys/devices/system/node/node{node}/cpulist"), list);
        }
        plant("sys/devices/system/node/has_cpu".to_owned(), "0-1");
        plant("proc/self/status".to_owned(), &format!("Name:\tforebay\nCpus_allowed_list:\t{allowed}\n"));
        let machine = Machine::beneath(folder.path());
        (folder, machine)
    }

    fn threads(nodes: &[&str], allowed: &str, threads: usize) -> Vec<(u32, usize)> {
        let (_folder, machine) = planted(nodes, allowed);
        let homes = Homes::of(&machine, threads);
        homes.all().iter().map(|home| (home.node, home.threads)).collect()
    }

    #[test]
    fn threads_are_shared_by_the_processors_that_may_be_used() {
        let dgx = ["0-55,112-167", "56-111,168-223"];
        assert_eq!(threads(&dgx, "0-223", 224), [(0, 112), (1, 112)]);
        assert_eq!(threads(&dgx, "0-223", 17), [(0, 9), (1, 8)]);
        assert_eq!(threads(&dgx, "0-55,56-83", 12), [(0, 8), (1, 4)]);
        assert_eq!(threads(&["0-3", "", "4-11"], "0-11", 6), [(0, 2), (2, 4)], "a node may be memory alone");
    }

    #[test]
    fn nobody_is_at_home_where_one_node_has_all_the_threads() {
        let dgx = ["0-55", "56-111"];
        assert_eq!(threads(&["0-3"], "0-3", 4), []);
        assert_eq!(threads(&dgx, "0-55", 56), [], "a cpuset of one node");
        assert_eq!(threads(&dgx, "0-111", 1), []);
        assert_eq!(threads(&[], "0-3", 4), [], "a kernel without nodes");
    }

    #[test]
    fn each_thread_is_at_home_once() {
        let (_folder, machine) = planted(&["0-2", "3"], "0-3");
        let homes = Homes::of(&machine, 4);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|thread| homes.of_thread(thread)),
            [Some(0), Some(0), Some(0), Some(1), None]
        );
        assert_eq!([0, 1, 2].map(|node| homes.of_node(node)), [Some(0), Some(1), None]);
        assert_eq!(homes.all()[0].processors, [0, 1, 2]);
    }
}
