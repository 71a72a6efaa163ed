//! Faults before, behind and beside another store's answers, from a seed: what tests put in front of a real one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::attempt::{Put, Records, TooLarge, Trouble};
use super::name::RecordName;

/// How often each fault comes, per thousand calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Faults {
    /// The same seed gives the same call of the same record the same fate.
    pub seed: u64,
    /// A request that never arrives; its sender sees a dropped connection.
    pub lost_before_per_mille: u16,
    /// A write that is made, and whose reply is lost.
    pub lost_after_per_mille: u16,
    /// A request that arrives twice; its sender sees the second reply.
    pub doubled_per_mille: u16,
    /// A record that is there and not yet seen, as by a cached lookup of NFS.
    pub unseen_per_mille: u16,
    /// A call that takes up to `delay_max`.
    pub slow_per_mille: u16,
    /// The longest delay.
    pub delay_max: Duration,
}

/// A store behind faults.
pub(crate) struct Faulty {
    inner: Arc<dyn Records>,
    faults: Faults,
    calls: Mutex<HashMap<RecordName, u32>>,
}

enum Fate {
    Served,
    LostBefore,
    LostAfter,
    Doubled,
    Unseen,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Records>, faults: Faults) -> Self {
        Self { inner, faults, calls: Mutex::default() }
    }

    /// Decides from seed, record and the number of the call alone, after a delay where there is one.
    fn fate(&self, name: &RecordName) -> Fate {
        let call = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let call = calls.entry(name.clone()).or_insert(0);
            *call += 1;
            *call
        };
        let mut hasher = blake3::Hasher::new_derive_key("forebay state root fault 1");
        hasher
            .update(&self.faults.seed.to_le_bytes())
            .update(&call.to_le_bytes())
            .update(name.as_str().as_bytes());
        let mut draws = [0; 12];
        hasher.finalize_xof().fill(&mut draws);
        let draw = |at: usize| u32::from_le_bytes([draws[at], draws[at + 1], draws[at + 2], draws[at + 3]]);
        if draw(4) % 1000 < self.faults.slow_per_mille.into() {
            thread::sleep(self.faults.delay_max.mul_f64(f64::from(draw(8)) / f64::from(u32::MAX)));
        }
        self.faults.fate(draw(0) % 1000)
    }
}

impl Faults {
    fn fate(&self, draw: u32) -> Fate {
        let shares = [
            (self.lost_before_per_mille, Fate::LostBefore),
            (self.lost_after_per_mille, Fate::LostAfter),
            (self.doubled_per_mille, Fate::Doubled),
            (self.unseen_per_mille, Fate::Unseen),
        ];
        let mut below = 0;
        for (per_mille, fate) in shares {
            below += u32::from(per_mille);
            if draw < below {
                return fate;
            }
        }
        Fate::Served
    }
}

fn lost() -> Trouble {
    Trouble::passing("the connection was dropped (by a test)")
}

impl Records for Faulty {
    fn put_new(&self, name: &RecordName, bytes: &[u8]) -> Result<Put, Trouble> {
        match self.fate(name) {
            Fate::LostBefore => Err(lost()),
            Fate::LostAfter => self.inner.put_new(name, bytes).and_then(|_| Err(lost())),
            Fate::Doubled => self.inner.put_new(name, bytes).and_then(|_| self.inner.put_new(name, bytes)),
            Fate::Served | Fate::Unseen => self.inner.put_new(name, bytes),
        }
    }

    fn get(&self, name: &RecordName, bytes_max: u64) -> Result<Option<Result<Vec<u8>, TooLarge>>, Trouble> {
        match self.fate(name) {
            Fate::LostBefore | Fate::LostAfter => Err(lost()),
            Fate::Unseen => Ok(None),
            Fate::Served | Fate::Doubled => self.inner.get(name, bytes_max),
        }
    }

    fn size(&self, name: &RecordName) -> Result<Option<u64>, Trouble> {
        match self.fate(name) {
            Fate::LostBefore | Fate::LostAfter => Err(lost()),
            Fate::Unseen => Ok(None),
            Fate::Served | Fate::Doubled => self.inner.size(name),
        }
    }

    fn list(&self, folder: &RecordName, names_max: usize) -> Result<Vec<String>, Trouble> {
        match self.fate(folder) {
            Fate::LostBefore | Fate::LostAfter => Err(lost()),
            _ => self.inner.list(folder, names_max),
        }
    }
}
