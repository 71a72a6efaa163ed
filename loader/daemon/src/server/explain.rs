//! Explain: the evidence as the daemon has it, and the judgement on it for the wire.

use std::sync::Arc;

use forebay_proto::v1;

use super::{Peer, Service};
use crate::error::{Fault, Kind};
use crate::explain::{
    self, Cause, Consumer, Evidence, Findings, Machine, PoolFacts, Shares, SlowObject, StepCost,
};
use crate::meter::throttle::Throttle;
use crate::session::slowest::Slow;
use crate::session::table::Listed;
use crate::sys;

impl Service {
    /// Says where consumers' time went and what to change first: of one session, or of all that the caller may see,
    /// which are its own user's, and for an operator everybody's.
    ///
    /// # Errors
    /// NotFound: no such session, or another user's.
    pub fn explain(&self, peer: Peer, request: &v1::ExplainRequest) -> Result<v1::ExplainReply, Fault> {
        let mut seen = self.sessions.all();
        seen.retain(|listed| self.may_see(peer, listed) && [0, listed.spec.id].contains(&request.session));
        if request.session != 0 && seen.is_empty() {
            let message = format!("session {} is not open, or not yours", request.session);
            return Err(
                Fault::new(Kind::NotFound, message).hint("`forebay explain` without --session lists them")
            );
        }
        let throttle = self.pool.throttle().read_now();
        let findings: Vec<_> =
            seen.iter().map(|listed| explain::judge(self.evidence(listed, throttle))).collect();
        Ok(v1::ExplainReply {
            text: explain::text::page(&findings),
            sessions: findings.into_iter().map(to_proto).collect(),
        })
    }

    pub(super) fn may_see(&self, peer: Peer, listed: &Listed) -> bool {
        match peer {
            Peer::Process { uid, .. } if listed.owner_uid == Some(uid) => true,
            peer => self.operator(peer, "explain").is_ok(),
        }
    }

    fn evidence(&self, listed: &Arc<Listed>, throttle: Throttle) -> Evidence {
        let (spec, history) = (&listed.spec, &listed.counters.history);
        let (steps, steps_seen) = history.taken_steps();
        let engine = self.pool.engine_name();
        let rings = self.config.engine_options().rings;
        let named = |slow: Slow| SlowObject {
            key: spec.job.key(slow.pick),
            us: slow.us,
            bytes: slow.bytes,
            epoch: slow.epoch,
            position: slow.position,
        };
        Evidence {
            consumer: Consumer {
                session: spec.id,
                job_id: spec.job.id.clone(),
                client: spec.client.clone(),
                rank: spec.partition.rank,
                size: spec.partition.size,
                replica: spec.partition.replica.clone(),
                depth: spec.depth,
                max_leases: spec.max_leases,
            },
            pool: PoolFacts {
                is_private: listed.owner_uid.is_none(),
                cpu_threads: self.pool.cpu_threads(),
                read_threads: self.config.read_threads().get(),
                reads_in_flight: self.config.reads_in_flight,
                read_budget_bytes: self.config.read_budget.0,
                uring_threads: if engine.contains("uring") { rings.threads.get() } else { 0 },
                uring_depth: rings.depth.get() as usize,
                engine: engine.to_owned(),
            },
            machine: Machine {
                processors: sys::processors(),
                usable_processors: sys::cpus(),
                load_average: sys::load_average(),
            },
            steps,
            steps_seen,
            throttle,
            read_p99_us: history.read_times.quantile_us(0.99),
            slowest_reads: history.reads.worst().into_iter().map(named).collect(),
            slowest_decodes: history.samples.worst().into_iter().map(named).collect(),
        }
    }
}

fn to_proto(findings: Findings) -> v1::SessionFindings {
    let shares = shares_to_proto(&findings.shares, findings.window_us);
    let Consumer { session, job_id, client, rank, size, replica, .. } = findings.consumer;
    let steps = |steps: Vec<StepCost>| steps.iter().map(step_to_proto).collect();
    v1::SessionFindings {
        session,
        job_id,
        client,
        partition: Some(v1::Partition { rank, size, replica }),
        cause: findings.cause.map_or(v1::Cause::Unspecified, cause_to_proto).into(),
        advice: findings.advice,
        detail: findings.detail,
        steps: findings.steps as u32,
        steps_seen: findings.steps_seen,
        window_us: findings.window_us,
        shares,
        slowest_steps: steps(findings.slowest_steps),
        slowest_reads: findings.slowest_reads.into_iter().map(object_to_proto).collect(),
        slowest_decodes: findings.slowest_decodes.into_iter().map(object_to_proto).collect(),
        newest_steps: steps(findings.newest_steps),
    }
}

fn cause_to_proto(cause: Cause) -> v1::Cause {
    match cause {
        Cause::Trainer => v1::Cause::Trainer,
        Cause::Storage => v1::Cause::Storage,
        Cause::Decode => v1::Cause::Decode,
        Cause::Transform => v1::Cause::Transform,
        Cause::Throttled => v1::Cause::Throttled,
        Cause::Processors => v1::Cause::Processors,
        Cause::Slots => v1::Cause::Slots,
        Cause::Python => v1::Cause::Python,
        Cause::HandOver => v1::Cause::HandOver,
    }
}

fn shares_to_proto(shares: &Shares, total_us: u64) -> Vec<v1::CauseShare> {
    let share = |(cause, us): &(Cause, u64)| v1::CauseShare {
        cause: cause_to_proto(*cause).into(),
        share: *us as f64 / total_us.max(1) as f64,
        us: *us,
    };
    shares.iter().map(share).collect()
}

fn step_to_proto(step: &StepCost) -> v1::StepWait {
    v1::StepWait {
        cursor: Some(v1::Cursor { epoch: step.epoch, position: step.position }),
        wait_us: step.wait_us,
        total_us: step.total_us,
        shares: shares_to_proto(&step.shares, step.total_us),
    }
}

fn object_to_proto(object: SlowObject) -> v1::SlowObject {
    let SlowObject { key, us, bytes, epoch, position } = object;
    v1::SlowObject { key, us, bytes, epoch, position }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::CAUSES;

    #[test]
    fn a_cause_has_the_same_name_here_and_on_the_wire() {
        for cause in CAUSES {
            let wire = cause_to_proto(cause).as_str_name();
            assert_eq!(wire, format!("CAUSE_{}", cause.name().to_uppercase()));
        }
    }
}
