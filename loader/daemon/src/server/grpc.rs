//! The gRPC front: the same calls, for operators and other hosts.

use std::pin::Pin;
use std::sync::Arc;

use forebay_proto::v1;
use forebay_proto::v1::forebay_server::{Forebay, ForebayServer};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use super::{Peer, Service};
use crate::error::{Fault, Kind};
use crate::metrics;

/// The service as tonic serves it.
pub struct Grpc(pub Arc<Service>);

/// Serves operators on a Unix socket until the task is dropped.
pub async fn serve(listener: tokio::net::UnixListener, service: Arc<Service>) {
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(ForebayServer::new(Grpc(service)));
    if let Err(error) = server.serve_with_incoming(incoming).await {
        tracing::error!(%error, "the operators' socket failed");
    }
}

type Batches = Pin<Box<dyn Stream<Item = Result<v1::FetchReply, Status>> + Send>>;

#[tonic::async_trait]
impl Forebay for Grpc {
    type FetchStream = Batches;
    type StreamStream = Batches;

    async fn hello(&self, request: Request<v1::HelloRequest>) -> Result<Response<v1::HelloReply>, Status> {
        answer(self.0.hello(request.get_ref()))
    }

    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveReply>, Status> {
        let peer = peer(&request)?;
        answer(self.0.resolve(peer, request.into_inner()).await)
    }

    async fn open(&self, _: Request<v1::OpenRequest>) -> Result<Response<v1::OpenReply>, Status> {
        answer(Err(Fault::unimplemented("open over gRPC: delivery REMOTE")))
    }

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<Batches>, Status> {
        let peer = peer(&request)?;
        let key = request.into_inner().key.ok_or_else(|| status(&Fault::invalid("fetch without a key")))?;
        let (sender, receiver) = mpsc::channel(4);
        let service = Arc::clone(&self.0);
        tokio::spawn(async move {
            let fetched = service.fetch(peer, key, sender.clone()).await;
            metrics::fetched(fetched.is_ok());
            if let Err(fault) = fetched {
                let _ = sender.send(Err(fault)).await;
            }
        });
        let replies = ReceiverStream::new(receiver).map(|reply| reply.map_err(|fault| status(&fault)));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn stream(&self, _: Request<v1::StreamRequest>) -> Result<Response<Batches>, Status> {
        Err(status(&Fault::unimplemented("stream")))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        answer(self.0.explain(peer(&request)?, request.get_ref()))
    }

    async fn show(&self, request: Request<v1::ShowRequest>) -> Result<Response<v1::ShowReply>, Status> {
        let peer = peer(&request)?;
        answer(self.0.show(peer, request.into_inner()).await)
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<v1::ReportReply>, Status> {
        let peer = peer(&request)?;
        answer(self.0.report(peer, request.into_inner()).await)
    }

    async fn losses(&self, request: Request<v1::LossesRequest>) -> Result<Response<v1::LossesReply>, Status> {
        let peer = peer(&request)?;
        answer(self.0.losses(peer, request.into_inner()).await)
    }

    async fn digest(&self, request: Request<v1::DigestRequest>) -> Result<Response<v1::DigestReply>, Status> {
        answer(self.0.digest(peer(&request)?, request.get_ref()).await)
    }

    async fn stats(&self, request: Request<v1::StatsRequest>) -> Result<Response<v1::StatsReply>, Status> {
        answer(self.0.stats(peer(&request)?))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainReply>, Status> {
        answer(self.0.drain(peer(&request)?, request.get_ref()))
    }
}

/// Who calls, as the kernel tells of a Unix socket.
fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let info = request.extensions().get::<UdsConnectInfo>();
    let credentials = info.and_then(|info| info.peer_cred);
    let credentials =
        credentials.ok_or_else(|| Status::unauthenticated("the kernel does not say who calls"))?;
    Ok(Peer::Process { uid: credentials.uid(), gid: credentials.gid() })
}

fn answer<T>(result: Result<T, Fault>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|fault| status(&fault))
}

fn status(fault: &Fault) -> Status {
    let text = fault.to_string();
    match fault.kind {
        Kind::Invalid => Status::invalid_argument(text),
        Kind::NotFound => Status::not_found(text),
        Kind::Unavailable => Status::unavailable(text),
        Kind::Corrupt => Status::data_loss(text),
        Kind::Internal => Status::internal(text),
        Kind::Unimplemented => Status::unimplemented(text),
        Kind::Denied => Status::permission_denied(text),
        Kind::Changed => Status::failed_precondition(text),
    }
}
