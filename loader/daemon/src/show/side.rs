//! Who answers `forebay show`: a running daemon, or a service of the command's own.

use std::sync::Arc;

use forebay_proto::v1::{self, reply, request::Call};

use super::options::ShowArgs;
use super::spec;
use crate::config::Config;
use crate::delivery::local::client::Client;
use crate::error::Fault;
use crate::operate;
use crate::run::Daemon;
use crate::server::{Peer, Service};

/// Who is asked.
pub(super) enum Side {
    Daemon(Client),
    Own(Arc<Service>),
}

impl Side {
    /// A running daemon where one is named, else a service of this process.
    pub(super) fn of(args: &ShowArgs) -> Result<Self, Fault> {
        match &args.what.socket {
            Some(socket) => operate::connect(socket).map(Self::Daemon),
            None if args.what.job.is_some() => Err(Fault::invalid("--job without a place to look for it")
                .hint("--state-root PLACE is where the run kept its records; --socket PATH asks a running daemon")),
            None => Self::own(),
        }
    }

    /// A service of this process.
    pub(super) fn own() -> Result<Self, Fault> {
        Ok(Self::Own(Daemon::start(Config::default())?.service))
    }

    /// The job that the arguments name.
    pub(super) fn job(&mut self, args: &ShowArgs) -> Result<v1::Job, Fault> {
        let what = &args.what;
        let request = match (&what.order_digest, &what.content_digest) {
            (Some(order), Some(content)) => {
                let job = v1::JobRef { order_digest: order.clone(), content_digest: content.clone() };
                v1::ResolveRequest { job: Some(job), ..Default::default() }
            }
            _ if what.job.is_some() => {
                let job_id = what.job.clone().unwrap_or_default();
                v1::ResolveRequest { job_id, epoch: args.which.epoch, ..Default::default() }
            }
            _ => v1::ResolveRequest { spec: Some(spec(args)?), ..Default::default() },
        };
        self.resolve(request)
    }

    /// The job of a request.
    pub(super) fn resolve(&mut self, request: v1::ResolveRequest) -> Result<v1::Job, Fault> {
        let reply = match self {
            Self::Own(service) => on_runtime(service.resolve(Peer::Parent, request))?,
            Self::Daemon(client) => match client.call(Call::Resolve(request))? {
                reply::Result::Resolve(reply) => reply,
                other => return Err(Fault::internal(format!("resolve was answered with {other:?}"))),
            },
        };
        reply.job.ok_or_else(|| Fault::internal("resolve was answered without a job"))
    }

    /// A batch with what became of its rows.
    pub(super) fn show(&mut self, request: v1::ShowRequest) -> Result<v1::ShowReply, Fault> {
        match self {
            Self::Own(service) => on_runtime(service.show(Peer::Parent, request)),
            Self::Daemon(client) => match client.call(Call::Show(request))? {
                reply::Result::Show(reply) => Ok(reply),
                other => Err(Fault::internal(format!("show was answered with {other:?}"))),
            },
        }
    }

    /// Rows of an epoch, which may differ from the first one's.
    pub(super) fn epoch_rows(&mut self, job: &v1::Job, epoch: u64) -> Result<u64, Fault> {
        let (order_digest, content_digest) = (job.order_digest.clone(), job.content_digest.clone());
        let job_ref = Some(v1::JobRef { order_digest, content_digest });
        self.digest(v1::DigestRequest { job: job_ref, epoch, to_row: 1, ..Default::default() })
            .map(|reply| reply.epoch_rows)
    }

    /// What some rows of an epoch add up to.
    pub(super) fn digest(&mut self, request: v1::DigestRequest) -> Result<v1::DigestReply, Fault> {
        match self {
            Self::Own(service) => on_runtime(service.digest(Peer::Parent, &request)),
            Self::Daemon(client) => match client.call(Call::Digest(request))? {
                reply::Result::Digest(reply) => Ok(reply),
                other => Err(Fault::internal(format!("digest was answered with {other:?}"))),
            },
        }
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(work)
}
