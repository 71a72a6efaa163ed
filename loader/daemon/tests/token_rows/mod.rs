//! Documents of which each token says where it stands, stored in three ways, and jobs over them.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, Snapshot, SourceSpec};
use forebay::error::Fault;
use forebay::job::{self, Job};
use forebay_proto::v1;

/// Token `place` of document `document`: it says itself which it is.
pub fn token(document: u32, place: u32) -> u32 {
    1 + document * 4096 + place
}

/// Where documents of given lengths lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored {
    Lists,
    OneFile,
    AFileEach,
}

/// Documents, their files and what names them.
pub struct Corpus {
    pub files: Vec<(String, Vec<u8>)>,
    pub snapshot: Arc<Snapshot>,
}

impl Corpus {
    /// `first`: the number of the first document.
    pub fn new(lengths: &[u32], stored: Stored, first: u32) -> Self {
        let (mut files, mut lines, mut offset) = (Vec::new(), Vec::new(), 0);
        let mut all = Vec::new();
        for (document, &len) in (first..).zip(lengths) {
            let tokens: Vec<u32> = (0..len).map(|place| token(document, place)).collect();
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
            let (name, what) = match stored {
                Stored::Lists => (String::new(), format!(r#""text":{tokens:?}"#)),
                Stored::OneFile => (
                    String::new(),
                    format!(r#""path":"all{first}.bin","offset":{offset},"key":"d{document}""#),
                ),
                Stored::AFileEach => (format!("{document}.bin"), format!(r#""path":"{document}.bin""#)),
            };
            lines.push(format!(r#"{{{what},"id":{document},"count":{len}}}"#));
            offset += len;
            all.extend(&bytes);
            files.extend((!name.is_empty()).then_some((name, bytes)));
        }
        if stored == Stored::OneFile {
            files.push((format!("all{first}.bin"), all));
        }
        Self { files, snapshot: snapshot(&lines.join("\n"), stored) }
    }
}

pub fn snapshot(lines: &str, stored: Stored) -> Arc<Snapshot> {
    let mut columns = vec![("id", ColumnKind::Int), ("count", ColumnKind::Int)];
    match stored {
        Stored::Lists => columns.push(("text", ColumnKind::Tokens)),
        Stored::OneFile => {
            columns.extend([
                ("path", ColumnKind::Path),
                ("offset", ColumnKind::Int),
                ("key", ColumnKind::Text),
            ]);
        }
        Stored::AFileEach => columns.push(("path", ColumnKind::Path)),
    }
    let columns = columns.into_iter().map(|(name, kind)| ColumnSpec { name: name.to_owned(), kind });
    let root = Some(std::env::temp_dir());
    let spec = SourceSpec::Records { root, json_lines: lines.into(), columns: columns.collect() };
    Arc::new(catalog::open(&spec, &CatalogLimits::default()).expect("a snapshot"))
}

/// The field of tokens.
pub fn tokens_field(stored: Stored, more: &str) -> String {
    let what = match stored {
        Stored::Lists => r#""column":"text""#,
        Stored::OneFile => {
            r#""column":"path","storedDtype":"DTYPE_UINT32","offsetColumn":"offset","lengthColumn":"count""#
        }
        Stored::AFileEach => r#""column":"path","storedDtype":"DTYPE_UINT32""#,
    };
    format!(r#"{{"name":"tokens","decode":"DECODE_TOKENS","dtype":"DTYPE_INT32",{what}{more}}}"#)
}

pub const PACKED_FIELDS: &str = r#",{"name":"places","decode":"DECODE_POSITION_IDS","dtype":"DTYPE_INT32"},
    {"name":"segments","decode":"DECODE_SEGMENT_IDS"},{"name":"ends","decode":"DECODE_BOUNDARIES"},
    {"name":"length","decode":"DECODE_LENGTH"}"#;
pub const CUT_FIELDS: &str = r#",{"name":"length","decode":"DECODE_LENGTH"},{"name":"id"}"#;

pub fn order(grouping: &str, window_rows: u32) -> String {
    format!(
        r#"{{"sampler":"SAMPLER_SHUFFLED","seed":"7","windows":{{"lengthColumn":"count","windowRows":{window_rows},{grouping}}}}}"#
    )
}

pub fn try_job(fields: &str, order: &str, more: &str, snapshots: Vec<Arc<Snapshot>>) -> Result<Job, Fault> {
    let spec = format!(r#"{{"fields":[{fields}],"order":{order}{more}}}"#);
    let spec: v1::JobSpec = serde_json::from_str(&spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    job::resolve_all(&spec, snapshots)
}

/// A packed job over one corpus.
pub fn packed(corpus: &Corpus, stored: Stored, packing: &str, more: &str) -> Arc<Job> {
    let fields = tokens_field(stored, "") + PACKED_FIELDS;
    let order = order(&format!(r#""packed":{{{packing}}}"#), 64);
    Arc::new(try_job(&fields, &order, more, vec![Arc::clone(&corpus.snapshot)]).expect("a job"))
}
