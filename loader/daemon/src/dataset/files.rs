//! `forebay dataset files`: what other programs read: files, keys, a selection as one Parquet file, a query.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::common::SetArgs;
use crate::catalog::dataset::{Dataset, FileRef, Manifest, Selection, fault};
use crate::error::{Fault, Kind};

/// Options of `forebay dataset files`.
#[derive(clap::Args, Clone, Debug)]
pub struct FilesArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// Another commit than the newest.
    #[arg(long, value_name = "COMMIT")]
    pub at: Option<u64>,
    /// Of a side of a split, or a frozen set; with --keys or --parquet. Absent: all samples, held back or not.
    #[arg(long, value_name = "NAME", conflicts_with = "sql")]
    pub split: Option<String>,
    /// Of the samples that meet a condition, or a recorded selection; with --keys or --parquet.
    #[arg(long = "where", value_name = "CONDITION", conflicts_with = "sql")]
    pub filter: Option<String>,
    /// Print the samples' keys, one a line.
    #[arg(long, conflicts_with_all = ["parquet", "sql"])]
    pub keys: bool,
    /// Write the samples with all their columns to a Parquet file.
    #[arg(long, value_name = "FILE", conflicts_with = "sql")]
    pub parquet: Option<PathBuf>,
    /// Print the query by which DuckDB reads the commit where it lies.
    #[arg(long)]
    pub sql: bool,
}

/// What `forebay dataset files --help` ends with.
pub const HELP: &str = "\
Files are named by their content and never change, so what reads a commit needs no lock.

Examples:
  forebay dataset files /data/photos
  forebay dataset files /data/photos --split val --keys > val.txt
  forebay dataset files /data/photos --where \"width >= 256\" --parquet large.parquet
  duckdb -c \"$(forebay dataset files /data/photos --sql)\"
  python -c \"import pandas; print(pandas.read_parquet('large.parquet'))\"";

/// Lists, writes or words it.
pub(super) fn run(args: &FilesArgs) -> Result<String, Fault> {
    let dataset = args.set.open()?;
    let manifest = args.at.map_or_else(|| dataset.head(), |number| dataset.at(number))?;
    if args.sql {
        return query(&dataset, &manifest);
    }
    let of_samples = args.keys || args.parquet.is_some();
    if !of_samples && (args.split.is_some() || args.filter.is_some()) {
        return Err(Fault::invalid("a selection has samples and no files of its own")
            .hint("add --keys to list them, or --parquet FILE to write them"));
    }
    if !of_samples {
        return Ok(list(args, &dataset, &manifest));
    }
    // What a job gets without a split lacks what frozen sets hold back; a list of a commit has it.
    let split = args.split.clone().or_else(|| Some("all".to_owned()));
    let selection = Selection { split, filter: args.filter.clone(), ..Selection::default() };
    let table = dataset.select(&manifest, &selection)?;
    let Some(target) = &args.parquet else {
        let keys = table.keys().map(|key| String::from_utf8_lossy(&key).into_owned());
        if args.set.json {
            return Ok(format!("{:#}\n", keys.map(Value::from).collect::<Value>()));
        }
        return Ok(keys.map(|key| key + "\n").collect());
    };
    let about = format!("{}, commit {}: {selection}", dataset.place(), manifest.number);
    let bytes = table.to_parquet(&about).map_err(|error| fault(&error))?;
    write(target, &bytes)?;
    let (rows, columns) = (table.len(), table.columns().len());
    if args.set.json {
        let whole = json!({ "file": target, "rows": rows, "columns": columns, "bytes": bytes.len() });
        return Ok(format!("{whole:#}\n"));
    }
    Ok(format!("{}: {rows} samples, {columns} columns, {} bytes\n", target.display(), bytes.len()))
}

fn write(target: &Path, bytes: &[u8]) -> Result<(), Fault> {
    std::fs::write(target, bytes).map_err(|error| {
        Fault::from_error(Kind::Invalid, &error).context(format!("write {}", target.display()))
    })
}

fn list(args: &FilesArgs, dataset: &Dataset, manifest: &Manifest) -> String {
    let of = |what: &'static str, files: &[FileRef]| -> Vec<_> {
        files.iter().map(|file| (what.to_owned(), file.clone())).collect()
    };
    let mut files = of("samples", &manifest.samples);
    files.extend(of("joined", &manifest.joined));
    files.extend(of("removed", &manifest.removed));
    files.extend(of("quarantined", &manifest.quarantined));
    files
        .extend(manifest.frozen.iter().map(|(name, frozen)| (format!("frozen {name}"), frozen.file.clone())));
    if args.set.json {
        let files = files.iter().map(|(what, file)| {
            let path = dataset.path_of(file);
            json!({ "what": what, "path": path, "rows": file.rows, "columns": file.columns })
        });
        return format!("{:#}\n", files.collect::<Value>());
    }
    let lines = files.iter().map(|(what, file)| {
        format!("{what:<12} {:>10}  {}  ({})\n", file.rows, dataset.path_of(file), file.columns.join(", "))
    });
    lines.collect()
}

/// Samples, with the newest joined value of each column, without those that are gone.
fn query(dataset: &Dataset, manifest: &Manifest) -> Result<String, Fault> {
    let called_by = match manifest.samples.first() {
        Some(first) => dataset.get(first, None).map(|first| crate::catalog::Table::of(&first))?,
        None => return Err(Fault::invalid("there is no sample yet").hint("add some: forebay index")),
    };
    let key: Vec<_> = called_by.called_by().iter().map(|name| format!("{}::VARCHAR", quoted(name))).collect();
    let mut columns: Vec<&str> = Vec::new();
    for name in manifest.samples.iter().chain(&manifest.joined).flat_map(|file| &file.columns) {
        if !columns.contains(&name.as_str()) && (name != "key" || called_by.called_by().contains(&"key")) {
            columns.push(name);
        }
    }
    let of_samples =
        |name: &str| manifest.samples.iter().any(|file| file.columns.iter().any(|own| own == name));
    let values = columns.iter().map(|name| {
        let layers = manifest.joined.iter().enumerate().rev();
        let layers = layers.filter(|(_, file)| *name != "key" && file.columns.iter().any(|own| own == name));
        let mut values: Vec<_> = layers.map(|(at, _)| format!("j{at}.{}", quoted(name))).collect();
        values.extend(of_samples(name).then(|| format!("s.{}", quoted(name))));
        match &values[..] {
            [one] => format!("{one} AS {}", quoted(name)),
            several => format!("coalesce({}) AS {}", several.join(", "), quoted(name)),
        }
    });
    let values: Vec<_> = values.collect();
    let paths = |files: &mut dyn Iterator<Item = &FileRef>| {
        files.map(|file| literal(&dataset.path_of(file))).collect::<Vec<_>>().join(", ")
    };
    let samples = paths(&mut manifest.samples.iter());
    let key = if key.is_empty() { "NULL".to_owned() } else { key.join(" || '@' || ") };
    let mut out = format!(
        "WITH s AS (SELECT *, {key} AS forebay_key FROM read_parquet([{samples}], union_by_name = true))\nSELECT {}\nFROM s\n",
        values.join(", ")
    );
    for (at, file) in manifest.joined.iter().enumerate() {
        let path = paths(&mut std::iter::once(file));
        let _ = writeln!(out, "LEFT JOIN read_parquet({path}) j{at} ON j{at}.key = s.forebay_key");
    }
    let gone = paths(&mut manifest.removed.iter().chain(&manifest.quarantined));
    if !gone.is_empty() {
        let _ = writeln!(
            out,
            "WHERE s.forebay_key NOT IN (SELECT key FROM read_parquet([{gone}], union_by_name = true))"
        );
    }
    Ok(out)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
