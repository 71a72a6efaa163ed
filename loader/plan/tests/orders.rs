//! Every kind of order under any cut: the same rows whatever the ranks, batch sizes and restarts, and evaluation that
//! counts each sample once.

use forebay_plan::orders::{
    Balanced, EpochLength, Explicit, List, Mixture, MixtureSpec, Order, Phase, Pick, Repeated, Source,
    Weighted,
};
use forebay_plan::windows::{Compose, Grouping, Long, WindowSpec, Windowed};
use forebay_plan::{BatchPlan, Cursor, Cut, Digest, OrderSpec, Partition, PlannedRow, Sampler, Tail};
use proptest::prelude::*;

/// A row of any order: what stands in it, each part with where it begins and how long it is.
type Content = Vec<(Pick, u32, u32)>;

/// An order as a job would hold it.
enum Job {
    Rows(Order),
    Windows(Windowed),
}

fn length(pick: Pick) -> u32 {
    1 + (pick.source * 31 + pick.sample.0 as u32 * 17) % 60
}

impl Job {
    /// What stands in some rows of an epoch. A new process builds everything anew, so this does too.
    fn contents(&self, epoch: u64, rows: &[PlannedRow]) -> Vec<Content> {
        match self {
            Self::Rows(order) => {
                let mut walker = order.epoch(epoch).walker();
                rows.iter().map(|row| vec![(walker.pick(row.position), 0, 0)]).collect()
            }
            Self::Windows(of) => {
                let epoch =
                    of.epoch(epoch, &of.table(epoch, length).expect("lengths")).expect("its own table");
                let content = |row: &PlannedRow| {
                    let window = epoch.window(epoch.window_of(row.position), length).expect("lengths");
                    window.row(row.position).parts().map(|part| (part.pick, part.start, part.len)).collect()
                };
                rows.iter().map(content).collect()
            }
        }
    }

    fn epoch_rows(&self, epoch: u64) -> u64 {
        match self {
            Self::Rows(order) => order.rows(epoch),
            Self::Windows(of) => {
                of.epoch(epoch, &of.table(epoch, length).expect("lengths")).expect("its own table").rows()
            }
        }
    }
}

fn shuffled(rows: u64) -> Order {
    Order::Single(OrderSpec::new(Sampler::Shuffled, 4, rows).expect("rows in range"))
}

fn mixture() -> Order {
    let sources = [(50, Sampler::Shuffled), (1, Sampler::Shuffled), (700, Sampler::Sequential)];
    let sources = sources.map(|(rows, sampler)| Source { rows, sampler }).to_vec();
    let phases = [(0, [5.0, 1.0, 3.0]), (1024, [1.0, 0.0, 1.0])];
    let phases = phases.map(|(from_row, weights)| Phase { from_row, weights: weights.to_vec() }).to_vec();
    let spec = MixtureSpec { seed: 4, sources, phases, epoch: EpochLength::Rows(1024) };
    Order::Mixture(Mixture::new(&spec).expect("a mixture in range"))
}

fn windowed(order: Order, window_rows: u32, grouping: Grouping, compose: Compose) -> Job {
    let spec = WindowSpec { window_rows, grouping, compose, shuffle: true };
    Job::Windows(Windowed::new(order, spec, Digest::from_bytes([1; 32])).expect("windows in range"))
}

/// One of each kind.
fn jobs() -> Vec<(&'static str, Job)> {
    let weights: Vec<f64> = (0..90).map(|i| 1.0 + i as f64).collect();
    let classes: Vec<u32> = (0..90).map(|i| i % 4 * (i % 3)).collect();
    let list: Vec<u64> = (0..300).map(|i| i * i % 90).collect();
    let balanced = Balanced::new(4, &classes, EpochLength::Sum).expect("some samples");
    let explicit =
        Explicit::new(4, 90, vec![List::new(&list), List::new(&list[..70])]).expect("indices in range");
    let packed = Grouping::Packed { capacity: 100, long: Long::Split, documents_max: u32::MAX };
    let budgeted = Grouping::Budgeted { tokens: 240, samples_max: 9 };
    vec![
        ("shuffled", Job::Rows(shuffled(333))),
        ("mixture", Job::Rows(mixture())),
        ("balanced", Job::Rows(Order::Balanced(balanced))),
        ("weighted", Job::Rows(Order::Weighted(Weighted::new(4, &weights, 250).expect("plain weights")))),
        ("explicit", Job::Rows(Order::Explicit(explicit))),
        (
            "repeated",
            Job::Rows(Order::Repeated(Repeated::new(mixture(), 3, 32, None).expect("at least once"))),
        ),
        ("bucketed", windowed(shuffled(333), 64, Grouping::Bucketed { batch_rows: 16 }, Compose::Once)),
        ("packed", windowed(shuffled(333), 64, packed, Compose::Once)),
        ("packed mixture", windowed(mixture(), 256, packed, Compose::EachEpoch)),
        ("budgeted", windowed(shuffled(333), 100, budgeted, Compose::EachEpoch)),
    ]
}

fn cuts(epoch_rows: u64, size: u32, rows_per_rank: u32, tail: Tail) -> Vec<Cut> {
    let partition = |rank| Partition::new(rank, size).expect("a rank below its size");
    (0..size).map(|rank| Cut::new(epoch_rows, partition(rank), rows_per_rank, tail).expect("a cut")).collect()
}

/// The rows of one step of all ranks, in rank order.
fn step(cuts: &[Cut], cursor: Cursor) -> Vec<PlannedRow> {
    cuts.iter().flat_map(|cut| cut.batch_at(cursor).expect("a step").iter()).collect()
}

/// One rank's batches of an epoch.
fn batches(cut: Cut, epoch: u64) -> Vec<BatchPlan> {
    let after = |batch: &BatchPlan| if batch.last_in_epoch { None } else { cut.batch_at(batch.next) };
    std::iter::successors(cut.batch_at(Cursor { epoch, position: 0 }), after).collect()
}

#[test]
fn any_chain_of_ranks_batches_and_restarts_gives_the_rows_of_the_straight_run() {
    for (name, job) in jobs() {
        for epoch in [0, 1] {
            let epoch_rows = job.epoch_rows(epoch);
            let straight: Vec<_> =
                (0..epoch_rows).map(|position| PlannedRow { position, valid: true }).collect();
            let straight = job.contents(epoch, &straight);
            let (mut chained, mut cursor) = (Vec::new(), Cursor { epoch, position: 0 });
            // Each link is a new run with another number of ranks and another batch size.
            for (size, rows_per_rank) in [(1, 7), (8, 3), (3, 11), (5, 2), (2, 40), (4, 9)].iter().cycle() {
                if cursor.epoch != epoch {
                    break;
                }
                let cuts = cuts(epoch_rows, *size, *rows_per_rank, Tail::Partial);
                let rows: Vec<_> = step(&cuts, cursor).into_iter().filter(|row| row.valid).collect();
                chained.extend(job.contents(epoch, &rows));
                cursor = cuts[0].batch_at(cursor).expect("the step just taken").next;
            }
            assert!(chained == straight, "{name}, epoch {epoch}");
        }
    }
}

#[test]
fn a_batch_is_the_same_whoever_computes_it_and_whatever_came_before() {
    for (name, job) in jobs() {
        let cut = cuts(job.epoch_rows(0), 3, 5, Tail::Pad)[1];
        let whole = batches(cut, 0);
        let rows: Vec<PlannedRow> = whole.iter().flat_map(BatchPlan::iter).collect();
        let in_turn = job.contents(0, &rows);
        // Backwards, each batch alone.
        for (number, batch) in whole.iter().enumerate().rev() {
            let alone = job.contents(0, &batch.iter().collect::<Vec<_>>());
            assert!(alone == in_turn[number * 5..][..5], "{name}, batch {number}");
        }
    }
}

proptest! {
    #[test]
    fn evaluation_counts_every_sample_once_over_all_ranks_in_equal_steps(
        samples in 1_u64..300, size in 1_u32..10, rows_per_rank in 1_u32..20,
        tail in prop::sample::select(&[Tail::Partial, Tail::Pad][..]),
        sampler in prop::sample::select(&[Sampler::Sequential, Sampler::Shuffled][..]),
    ) {
        let picks = Order::Single(OrderSpec::new(sampler, 2, samples).expect("rows in range")).epoch(0);
        let (mut times, mut shapes) = (vec![0; samples as usize], Vec::new());
        for cut in cuts(samples, size, rows_per_rank, tail) {
            let steps = batches(cut, 0);
            shapes.push(steps.iter().map(|step| step.rows).collect::<Vec<_>>());
            let valid = steps.iter().flat_map(BatchPlan::iter).filter(|row| row.valid);
            valid.for_each(|row| times[picks.pick(row.position).sample.0 as usize] += 1);
        }
        prop_assert!(times.iter().all(|&n| n == 1), "a sample is missed or counted twice");
        prop_assert!(shapes.iter().all(|shape| *shape == shapes[0]), "ranks would wait for each other for ever");
    }

    #[test]
    fn evaluation_of_packed_rows_counts_every_token_once_over_all_ranks(
        samples in 1_u64..200, size in 1_u32..6, rows_per_rank in 1_u32..5,
    ) {
        let grouping = Grouping::Packed { capacity: 64, long: Long::Split, documents_max: u32::MAX };
        let job = windowed(shuffled(samples), 32, grouping, Compose::Once);
        let mut tokens = vec![0; samples as usize];
        for cut in cuts(job.epoch_rows(0), size, rows_per_rank, Tail::Pad) {
            let rows: Vec<_> = batches(cut, 0).iter().flat_map(BatchPlan::iter).filter(|row| row.valid).collect();
            for (pick, _, len) in job.contents(0, &rows).into_iter().flatten() {
                tokens[pick.sample.0 as usize] += len;
            }
        }
        let due = |sample: usize| length(Pick { source: 0, sample: forebay_plan::SampleId(sample as u64), source_epoch: 0 });
        prop_assert!(tokens.iter().enumerate().all(|(sample, &n)| n == due(sample)));
    }
}
