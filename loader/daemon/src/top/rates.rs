//! Two replies of a daemon as what it did between them. Pure: the clock is the daemon's own.

use forebay_proto::v1;
use serde::Serialize;

/// What a daemon does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeRates {
    /// `forebay/0.1.0`.
    pub daemon: String,
    /// Its process.
    pub pid: u32,
    /// Since its start.
    pub uptime_s: f64,
    /// It takes no more sessions.
    pub draining: bool,
    /// Processors it kept busy.
    pub cores: f64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// The storage engine.
    pub engine: String,
    /// Its threads.
    pub read_threads: u32,
    /// Decode threads.
    pub decode_threads: u32,
    /// Share of their time that they worked.
    pub busy_share: f64,
    /// Shared memory of all sessions, and what it may come to.
    pub arena_bytes: u64,
    /// What it may come to.
    pub arena_budget_bytes: u64,
    /// Of all sessions.
    pub rows_per_s: f64,
    /// Tensor bytes delivered.
    pub batch_bytes_per_s: f64,
    /// Encoded bytes read.
    pub read_bytes_per_s: f64,
    /// One a session, oldest first.
    pub sessions: Vec<SessionRates>,
}

/// What a session does. Shares are of the time between the two replies.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionRates {
    /// Its number.
    pub session: u64,
    /// What it reads.
    pub job: String,
    /// Which part of it.
    pub rank: u32,
    /// Of how many.
    pub world_size: u32,
    /// Where it is.
    pub epoch: u64,
    /// How far through the epoch, 0 to 1.
    pub progress: f64,
    /// Valid rows delivered.
    pub rows_per_s: f64,
    /// Tensor bytes delivered.
    pub batch_bytes_per_s: f64,
    /// Its consumer waited, for whatever.
    pub wait_share: f64,
    /// Its consumer waited for bytes.
    pub wait_storage_share: f64,
    /// Its consumer waited for decode threads.
    pub wait_compute_share: f64,
    /// Its consumer waited for a slot that it held itself.
    pub wait_slot_share: f64,
    /// All its batches stood ready: the consumer is the slower side.
    pub idle_share: f64,
    /// Slots that the consumer holds.
    pub slots_leased: u32,
    /// All its slots.
    pub slots: u32,
    /// Reads asked again since it was opened.
    pub retries: u64,
    /// Corrupt samples since it was opened, replaced or masked.
    pub bad_samples: u64,
    /// Its share of the pool beside others of its priority.
    pub weight: u32,
    /// Nothing of it is read while one of a higher priority has something to read.
    pub priority: i32,
    /// Who consumes.
    pub client: String,
}

/// What happened from `before` to `after`. Another daemon's reply, or none, as `before`: since the start.
pub fn rates(before: Option<&v1::StatsReply>, after: &v1::StatsReply) -> NodeRates {
    let nothing = v1::StatsReply::default();
    let before = before
        .filter(|before| before.instance == after.instance && before.uptime_ms < after.uptime_ms)
        .unwrap_or(&nothing);
    let seconds = ms_between(before.uptime_ms, after.uptime_ms);
    let sessions: Vec<_> =
        after.sessions.iter().map(|session| of_session(before, session, seconds)).collect();
    let busy_s = us_between(before.busy_us, after.busy_us);
    // Not `sum()`, which makes minus zero of nothing.
    let over = |rate: fn(&SessionRates) -> f64| sessions.iter().fold(0.0, |sum, session| sum + rate(session));
    let (rows_per_s, batch_bytes_per_s) =
        (over(|session| session.rows_per_s), over(|session| session.batch_bytes_per_s));
    let read_bytes =
        |stats: &v1::StatsReply| stats.sessions.iter().map(|session| session.read_bytes).sum::<u64>();
    NodeRates {
        daemon: after.daemon.clone(),
        pid: after.pid,
        uptime_s: after.uptime_ms as f64 / 1e3,
        draining: after.draining,
        cores: us_between(before.cpu_us, after.cpu_us) / seconds,
        rss_bytes: after.rss_bytes,
        engine: after.engine.clone(),
        read_threads: after.read_threads,
        decode_threads: after.cpu_threads,
        busy_share: share(busy_s, seconds * f64::from(after.cpu_threads.max(1))),
        arena_bytes: after.arena_bytes,
        arena_budget_bytes: after.arena_budget_bytes,
        rows_per_s,
        batch_bytes_per_s,
        read_bytes_per_s: read_bytes(after).saturating_sub(read_bytes(before)) as f64 / seconds,
        sessions,
    }
}

fn of_session(before: &v1::StatsReply, after: &v1::SessionStats, seconds: f64) -> SessionRates {
    let nothing = v1::SessionStats::default();
    let earlier = before.sessions.iter().find(|session| session.session == after.session);
    // One that was opened in between is judged by its own time.
    let seconds = if earlier.is_some() { seconds } else { seconds.min(ms_between(0, after.open_ms)) };
    let before = earlier.unwrap_or(&nothing);
    let cursor = after.cursor.unwrap_or_default();
    let partition = after.partition.clone().unwrap_or_default();
    let per_s = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
    let share_of = |before: u64, after: u64| share(us_between(before, after), seconds);
    SessionRates {
        session: after.session,
        job: after.job_id.clone(),
        rank: partition.rank,
        world_size: partition.size.max(1),
        epoch: cursor.epoch,
        progress: share(cursor.position as f64, after.epoch_rows.max(1) as f64),
        rows_per_s: per_s(before.rows, after.rows),
        batch_bytes_per_s: per_s(before.batch_bytes, after.batch_bytes),
        wait_share: share_of(before.feed_wait_us, after.feed_wait_us),
        wait_storage_share: share_of(before.feed_wait_storage_us, after.feed_wait_storage_us),
        wait_compute_share: share_of(before.feed_wait_compute_us, after.feed_wait_compute_us),
        wait_slot_share: share_of(before.feed_wait_slot_us, after.feed_wait_slot_us),
        idle_share: share_of(before.idle_us, after.idle_us),
        slots_leased: after.slots_leased,
        slots: after.slots,
        retries: after.retries,
        bad_samples: after.substituted + after.masked,
        weight: after.weight,
        priority: after.priority,
        client: after.client.clone(),
    }
}

/// Sums are added to when something ends, so what began before the interval may make a share larger than 1: it is cut.
fn share(part: f64, whole: f64) -> f64 {
    (part / whole).clamp(0.0, 1.0)
}

fn us_between(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64 / 1e6
}

fn ms_between(before: u64, after: u64) -> f64 {
    (after.saturating_sub(before).max(1)) as f64 / 1e3
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A daemon with one session, `seconds` after its start: 100 rows a second, half of the time waiting for storage.
    pub fn reply(seconds: u64) -> v1::StatsReply {
        let session = v1::SessionStats {
            session: 3,
            job_id: "resnet".into(),
            client: "forebay-py/0.1.0".into(),
            partition: Some(v1::Partition { rank: 1, size: 8, ..Default::default() }),
            cursor: Some(v1::Cursor { epoch: 2, position: 250 }),
            epoch_rows: 1000,
            open_ms: seconds * 1000,
            rows: 100 * seconds,
            batch_bytes: 5_000_000 * seconds,
            read_bytes: 1_000_000 * seconds,
            feed_wait_us: 600_000 * seconds,
            feed_wait_storage_us: 500_000 * seconds,
            idle_us: 300_000 * seconds,
            slots: 4,
            slots_leased: 2,
            weight: 1,
            ..Default::default()
        };
        v1::StatsReply {
            instance: "a".into(),
            daemon: "forebay/0.1.0".into(),
            pid: 7,
            uptime_ms: 1000 * seconds,
            cpu_us: 1_500_000 * seconds,
            busy_us: 1_000_000 * seconds,
            cpu_threads: 2,
            read_threads: 16,
            engine: "threads".into(),
            rss_bytes: 300_000_000,
            arena_bytes: 2 << 30,
            arena_budget_bytes: 8 << 30,
            sessions: vec![session],
            ..Default::default()
        }
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-6
    }

    #[test]
    fn rates_are_the_difference_over_the_daemons_own_time() {
        let node = rates(Some(&reply(10)), &reply(14));
        let session = &node.sessions[0];
        assert!(near(node.cores, 1.5) && near(node.busy_share, 0.5), "{node:?}");
        assert!(near(node.rows_per_s, 100.0) && near(node.read_bytes_per_s, 1e6), "{node:?}");
        assert!(near(session.batch_bytes_per_s, 5e6) && near(session.progress, 0.25), "{session:?}");
        assert!(near(session.wait_share, 0.6) && near(session.wait_storage_share, 0.5), "{session:?}");
        assert!(near(session.idle_share, 0.3) && near(session.wait_slot_share, 0.0), "{session:?}");
        assert_eq!((session.rank, session.world_size), (1, 8));
    }

    #[test]
    fn a_session_that_is_new_is_judged_by_its_own_time() {
        let mut after = reply(14);
        after.sessions[0].session = 4;
        after.sessions[0].open_ms = 2000;
        after.sessions[0].rows = 50;
        assert!(near(rates(Some(&reply(10)), &after).sessions[0].rows_per_s, 25.0));
    }

    #[test]
    fn a_daemon_that_was_started_again_is_judged_from_its_start() {
        let mut before = reply(1000);
        before.instance = "b".into();
        assert_eq!(rates(Some(&before), &reply(4)), rates(None, &reply(4)));
        assert!(near(rates(None, &reply(4)).rows_per_s, 100.0));
    }

    #[test]
    fn sums_that_were_added_late_and_replies_of_one_moment_give_no_nonsense() {
        let mut after = reply(11);
        after.sessions[0].idle_us = u64::MAX;
        assert!(near(rates(Some(&reply(10)), &after).sessions[0].idle_share, 1.0));
        let same = rates(Some(&reply(10)), &reply(10));
        assert!(same.rows_per_s.is_finite() && same.sessions[0].wait_share.is_finite());
        assert!(rates(None, &v1::StatsReply::default()).rows_per_s.is_finite());
    }
}
