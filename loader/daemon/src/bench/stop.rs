//! Ctrl-C and SIGTERM as a flag, so that test files are removed before the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Fault, Kind};

/// Whether the work shall end early.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Set by the first SIGINT or SIGTERM from now on. From then on these no longer end the process.
    ///
    /// # Errors
    /// Unavailable: no handler can be set.
    pub fn on_signals(runtime: &Handle) -> Result<Self, Fault> {
        let stop = Self::default();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signals = signal(kind)
                .map_err(|error| Fault::from_error(Kind::Unavailable, &error).context("watch for signals"))?;
            let stop = stop.clone();
            runtime.spawn(async move {
                signals.recv().await;
                stop.set();
            });
        }
        Ok(stop)
    }

    /// Ends the work.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it ends.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once it ends.
    ///
    /// # Errors
    /// Unavailable: stopped.
    pub fn check(&self) -> Result<(), Fault> {
        if self.is_set() {
            Err(Fault::new(Kind::Unavailable, "stopped; test files were removed"))
        } else {
            Ok(())
        }
    }
}
