//! The metrics of a node's daemon over HTTP: `GET /metrics` in Prometheus' text form, `GET /healthz`.
//!
//! Whoever may connect may read: there is no authentication, so it belongs on the loopback, a private network or a Unix
//! socket. What one caller can take is bounded: connections, bytes of a request, seconds of silence.

mod bounded;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::config::MetricsListen;
use crate::error::{Fault, Kind};
use crate::listen::{self, Unlink};
use crate::metrics;
use crate::server::Service;
use bounded::Bounded;

/// How often what histograms were given is put into their buckets; until then it lies in memory, 24 bytes an event.
const UPKEEP: Duration = Duration::from_secs(2);
const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text format, by its version.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A socket that is bound and not served yet, and what is counted from then on.
pub struct Endpoint {
    listener: Listener,
    handle: PrometheusHandle,
}

enum Listener {
    /// An address and a port.
    Tcp(tokio::net::TcpListener),
    /// A Unix socket, and its file.
    Unix(tokio::net::UnixListener, Unlink),
}

impl Endpoint {
    /// Binds, and counts from here on: before the first client can connect. Serving is [`Self::serve`]'s.
    ///
    /// # Errors
    /// Invalid, naming the address and the cure; or another recorder counts in this process.
    pub async fn bind(listen: &MetricsListen) -> Result<Self, Fault> {
        let listener = match listen {
            MetricsListen::Tcp(address) => Listener::Tcp(bind_tcp(*address).await?),
            MetricsListen::Unix(path) => Listener::Unix(listen::stream(path)?, Unlink(PathBuf::from(path))),
        };
        Ok(Self { listener, handle: recorder()? })
    }

    /// Answers until the task is dropped.
    ///
    /// # Errors
    /// Unavailable: the socket cannot be waited on.
    pub async fn serve(self, service: Arc<Service>) -> Result<(), Fault> {
        let Self { listener, handle } = self;
        let upkeep = async {
            loop {
                tokio::time::sleep(UPKEEP).await;
                handle.run_upkeep();
            }
        };
        let router = router(Answers { service, handle: handle.clone() });
        let served = async {
            match listener {
                Listener::Tcp(listener) => axum::serve(Bounded::new(listener), router).await,
                Listener::Unix(listener, _unlink) => axum::serve(Bounded::new(listener), router).await,
            }
        };
        tokio::select! {
            () = upkeep => unreachable!("it never ends"),
            served = served => served.map_err(|error| Fault::from_error(Kind::Unavailable, &error).context("serve metrics")),
        }
    }
}

async fn bind_tcp(address: SocketAddr) -> Result<tokio::net::TcpListener, Fault> {
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there, maybe another daemon: choose another port for metrics_listen"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address: use 127.0.0.1, or 0.0.0.0 for all of them"
            }
            io::ErrorKind::PermissionDenied => "ports under 1024 need root: choose a higher one, as 9464",
            _ => "choose another metrics_listen, or leave it out",
        };
        Fault::from_error(Kind::Invalid, &error)
            .context(format!("listen on {address} for metrics"))
            .hint(hint)
    })?;
    let address = listener.local_addr().unwrap_or(address);
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "metrics are served without authentication to whoever reaches this address");
    }
    tracing::info!(%address, "serving metrics");
    Ok(listener)
}

/// The process's recorder, installed by the first to ask.
fn recorder() -> Result<PrometheusHandle, Fault> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let installed = HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &metrics::BUCKETS_SECONDS)
            .expect("there are buckets");
        let handle = builder.install_recorder().map_err(|error| error.to_string())?;
        metrics::register();
        Ok(handle)
    });
    installed.clone().map_err(|error| Fault::invalid(format!("count for metrics: {error}")))
}

#[derive(Clone)]
struct Answers {
    service: Arc<Service>,
    handle: PrometheusHandle,
}

fn router(answers: Answers) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .fallback(elsewhere)
        .with_state(answers)
}

async fn scrape(State(Answers { service, handle }): State<Answers>) -> impl IntoResponse {
    metrics::looked_at(&service.now());
    ([(CONTENT_TYPE, EXPOSITION)], handle.render())
}

async fn health(State(Answers { service, .. }): State<Answers>) -> impl IntoResponse {
    let draining = *service.draining().borrow();
    let (status, text) =
        if draining { (StatusCode::SERVICE_UNAVAILABLE, "draining\n") } else { (StatusCode::OK, "ok\n") };
    (status, [(CONTENT_TYPE, TEXT)], text)
}

async fn elsewhere(uri: Uri) -> impl IntoResponse {
    let text = format!("there is no {}; this daemon answers /metrics and /healthz\n", uri.path());
    (StatusCode::NOT_FOUND, [(CONTENT_TYPE, TEXT)], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_the_cure() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("its address");
        let fault = Endpoint::bind(&MetricsListen::Tcp(address)).await.err().expect("it is taken");
        assert_eq!(fault.kind, Kind::Invalid);
        assert!(fault.message.contains(&address.to_string()), "{fault}");
        assert!(fault.hint.expect("a cure").contains("metrics_listen"));
    }

    #[tokio::test]
    async fn an_address_of_another_machine_and_a_folder_that_is_not_there_are_refused() {
        for listen in ["192.0.2.1:0", "unix:/nowhere/metrics.sock"] {
            let fault = Endpoint::bind(&listen.parse().expect("a place")).await.err().expect("not here");
            assert!(fault.hint.is_some(), "{fault}");
        }
    }
}
