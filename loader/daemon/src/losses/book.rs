//! What several ledgers of a run say together, whether they are in memory or stored: one line a sample, by key.

use std::collections::HashMap;

use clap::ValueEnum;
use forebay_proto::v1;

use super::steps::{self, Step};
use super::{Stat, WeightOptions};
use crate::error::{Fault, Kind};

/// What samples are looked at for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The mean of its losses.
    #[default]
    Loss,
    /// The highest of them.
    Max,
    /// The last one.
    Last,
    /// The moving average: mostly the last three.
    Recent,
    /// How often it was NaN or infinite.
    Nan,
    /// How often it was reported.
    Count,
}

/// One sample that has a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its source in the book.
    pub source: u32,
    /// Its number in the source's snapshot; of another snapshot than the book's: none.
    pub sample: Option<u64>,
    /// What it is called, once somebody has looked it up.
    pub key: Option<Box<str>>,
    /// Its losses.
    pub stat: Stat,
}

/// A source as a ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BookSource {
    /// Its name among the job's sources.
    pub name: String,
    /// Samples of its snapshot.
    pub samples: u64,
    /// The snapshot, as hexadecimal digits.
    pub snapshot: String,
}

/// The losses of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    /// The run.
    pub job_id: String,
    /// How many ledgers were added up.
    pub ledgers: u32,
    /// As the newest ledger has them, then what only older ones have.
    pub sources: Vec<BookSource>,
    /// Each sample once.
    pub entries: Vec<Entry>,
    /// The steps that stood out, as [`Step`] sorts them.
    pub steps: Vec<Step<String>>,
}

impl By {
    /// As a request has it.
    pub fn of(order: v1::LossOrder) -> Self {
        match order {
            v1::LossOrder::Unspecified | v1::LossOrder::Mean => Self::Loss,
            v1::LossOrder::Max => Self::Max,
            v1::LossOrder::Last => Self::Last,
            v1::LossOrder::Recent => Self::Recent,
            v1::LossOrder::Nan => Self::Nan,
            v1::LossOrder::Count => Self::Count,
        }
    }

    /// As a request has it.
    pub fn to_proto(self) -> v1::LossOrder {
        match self {
            Self::Loss => v1::LossOrder::Mean,
            Self::Max => v1::LossOrder::Max,
            Self::Last => v1::LossOrder::Last,
            Self::Recent => v1::LossOrder::Recent,
            Self::Nan => v1::LossOrder::Nan,
            Self::Count => v1::LossOrder::Count,
        }
    }

    /// The number that a sample is sorted by; none where it has no such number.
    pub fn value(self, stat: &Stat) -> Option<f64> {
        let finite = |number: f32| Some(f64::from(number)).filter(|number| number.is_finite());
        match self {
            Self::Loss => stat.mean(),
            Self::Max => finite(stat.max),
            Self::Last => finite(stat.last),
            Self::Recent => finite(stat.recent),
            Self::Nan => (stat.nan > 0).then(|| f64::from(stat.nan)),
            Self::Count => Some(f64::from(stat.count) + f64::from(stat.nan)),
        }
    }
}

impl Book {
    /// All books of a run as one; `None` where there is none. Several must have their keys. One is held at a time.
    ///
    /// * `books`: the newest first, whose sources and numbers of samples are the whole's.
    ///
    /// # Errors
    /// That of a book.
    pub fn sum(books: impl IntoIterator<Item = Result<Self, Fault>>) -> Result<Option<Self>, Fault> {
        let mut books = books.into_iter();
        let Some(mut whole) = books.next().transpose()? else { return Ok(None) };
        let mut known = HashMap::new();
        for older in books {
            if known.is_empty() {
                let named = |(at, entry): (usize, &Entry)| ((entry.source, key_of(entry)), at);
                known = whole.entries.iter().enumerate().map(named).collect();
            }
            whole.add(older?, &mut known);
        }
        steps::sort(&mut whole.steps);
        Ok(Some(whole))
    }

    /// Adds an older book. `known`: where the entry of a source and key is.
    fn add(&mut self, older: Self, known: &mut HashMap<(u32, Box<str>), usize>) {
        let places: Vec<_> = older.sources.iter().map(|source| self.place(source)).collect();
        for entry in older.entries {
            let (source, same_snapshot) = places[entry.source as usize];
            let at = *known.entry((source, key_of(&entry))).or_insert(self.entries.len());
            if let Some(there) = self.entries.get_mut(at) {
                there.stat = there.stat.plus(entry.stat);
            } else {
                let sample = entry.sample.filter(|_| same_snapshot);
                self.entries.push(Entry { source, sample, ..entry });
            }
        }
        self.steps.extend(older.steps);
        self.ledgers += older.ledgers;
    }

    /// Where a source of an older book is in this one, and whether its samples have the same numbers.
    fn place(&mut self, source: &BookSource) -> (u32, bool) {
        let found = self.sources.iter().position(|known| known.name == source.name);
        let at = found.unwrap_or_else(|| {
            self.sources.push(source.clone());
            self.sources.len() - 1
        });
        (at as u32, self.sources[at].snapshot == source.snapshot)
    }

    /// The samples with the highest numbers, highest first; equal ones in the order of sources and samples.
    pub fn top(&self, by: By, count: usize) -> Vec<&Entry> {
        let mut ranked: Vec<_> =
            self.entries.iter().filter_map(|entry| Some((by.value(&entry.stat)?, entry))).collect();
        let order = |a: &(f64, &Entry), b: &(f64, &Entry)| {
            let place = |entry: &Entry| (entry.source, entry.sample.unwrap_or(u64::MAX));
            b.0.total_cmp(&a.0).then_with(|| place(a.1).cmp(&place(b.1)))
        };
        if count < ranked.len() && count > 0 {
            ranked.select_nth_unstable_by(count, order);
        }
        ranked.truncate(count);
        ranked.sort_by(order);
        ranked.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Finite losses, and the others.
    pub fn totals(&self) -> (u64, u64) {
        let add = |(finite, nan): (u64, u64), entry: &Entry| {
            (finite + u64::from(entry.stat.count), nan + u64::from(entry.stat.nan))
        };
        self.entries.iter().fold((0, 0), add)
    }

    /// Answers a request.
    ///
    /// * `key`: looks a key up where an entry has none.
    ///
    /// # Errors
    /// Invalid: too much is asked for; as [`Book::weights`].
    pub fn answer(
        &self,
        request: &v1::LossesRequest,
        key: impl Fn(&Entry) -> String,
    ) -> Result<v1::LossesReply, Fault> {
        if request.samples > super::LISTED_MAX {
            let message = format!("{} samples, at most {}", request.samples, super::LISTED_MAX);
            return Err(
                Fault::invalid(message).hint("stored ledgers are Parquet files: read the whole there")
            );
        }
        let weights = request.weights.as_ref().map(|asked| self.weights(&WeightOptions::of(asked)?));
        let top = self.top(By::of(request.by()), request.samples as usize);
        let samples = top.into_iter().map(|entry| self.sample(entry, &key)).collect();
        let (losses, nan) = self.totals();
        Ok(v1::LossesReply {
            job_id: self.job_id.clone(),
            ledgers: self.ledgers,
            sources: self.sources_to_proto(),
            losses,
            nan,
            samples,
            steps: self.steps.iter().take(request.steps as usize).map(step_to_proto).collect(),
            weights: weights.transpose()?.map_or_else(Vec::new, |weights| {
                weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
            }),
        })
    }

    fn sources_to_proto(&self) -> Vec<v1::LossSource> {
        let mut seen = vec![0; self.sources.len()];
        self.entries.iter().for_each(|entry| seen[entry.source as usize] += 1);
        let source = |(source, seen): (&BookSource, u64)| v1::LossSource {
            name: source.name.clone(),
            samples: source.samples,
            seen,
        };
        self.sources.iter().zip(seen).map(source).collect()
    }

    fn sample(&self, entry: &Entry, key: impl Fn(&Entry) -> String) -> v1::SampleLoss {
        let stat = &entry.stat;
        let several = self.sources.len() > 1;
        let source = if several { self.sources[entry.source as usize].name.clone() } else { String::new() };
        v1::SampleLoss {
            source,
            key: entry.key.as_deref().map_or_else(|| key(entry), str::to_owned),
            sample: entry.sample.unwrap_or_default(),
            count: u64::from(stat.count),
            nan: u64::from(stat.nan),
            mean: stat.mean(),
            max: By::Max.value(stat),
            recent: By::Recent.value(stat),
            last: By::Last.value(stat),
            epoch: u64::from(stat.epoch),
            position: stat.position,
        }
    }

    /// The number of the source that is meant: the only one, or the one that is named.
    ///
    /// # Errors
    /// Invalid: there are several, or none of that name.
    pub fn source(&self, name: &str) -> Result<u32, Fault> {
        let names = || self.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
        match (name, self.sources.len()) {
            ("", 1) => Ok(0),
            ("", _) => Err(Fault::invalid(format!("the job has the sources {}", names()))
                .hint("name one: weights are for an order over one source")),
            (name, _) => {
                let found = self.sources.iter().position(|source| source.name == name);
                found.map(|at| at as u32).ok_or_else(|| {
                    let message = format!("no source {name:?}; there are {}", names());
                    Fault::new(Kind::NotFound, message)
                })
            }
        }
    }
}

fn key_of(entry: &Entry) -> Box<str> {
    entry.key.clone().expect("books are added up with their keys")
}

fn step_to_proto(step: &Step<String>) -> v1::LossStep {
    let worst = |(key, loss): &(String, f32)| v1::SampleLoss {
        key: key.clone(),
        last: Some(f64::from(*loss)).filter(|loss| loss.is_finite()),
        nan: u64::from(!loss.is_finite()),
        ..Default::default()
    };
    v1::LossStep {
        epoch: step.epoch,
        first_row: step.first_row,
        rows: step.rows,
        rank: step.rank,
        loss: step.loss,
        nan: u64::from(step.nan),
        usual: step.usual,
        spread: step.spread,
        z: step.z,
        worst: step.worst.iter().map(worst).collect(),
    }
}
