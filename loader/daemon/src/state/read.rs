//! Files -> states: a record alone, as JSON or as Python prints it, or the one inside a larger JSON file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use forebay_plan::State;
use serde_json::Value;

use super::options::FindArgs;
use crate::error::{Fault, Kind};

/// A larger file is no state, nor a JSON checkpoint.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// What torch.save and pickle begin with.
const TORCH: [&[u8]; 2] = [b"PK\x03\x04", b"\x80"];

/// Reads the state in `file`, which messages call `name`.
///
/// # Errors
/// NotFound or Denied: the file; Invalid: it holds no state, several, or a broken one.
pub fn read(file: &Path, name: &str, find: &FindArgs) -> Result<State, Fault> {
    let bytes = bytes(file).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::PermissionDenied => Kind::Denied,
            _ => Kind::Invalid,
        };
        Fault::from_error(kind, &error).context(format!("read {name}"))
    })?;
    parse(&bytes, find.key.as_deref()).map_err(|fault| fault.context(name))
}

fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(file)?) };
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Finds the state in the bytes of a file.
///
/// # Errors
/// Invalid: there is none, there are several, or it is broken.
pub fn parse(bytes: &[u8], key: Option<&str>) -> Result<State, Fault> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Fault::invalid(format!("more than {} MiB", FILE_BYTES_MAX >> 20)).hint(ALONE));
    }
    if TORCH.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(Fault::invalid("a torch checkpoint or a pickle, and not JSON")
            .hint("`python -m forebay state ...`, with the same options, looks into it"));
    }
    let whole = json(bytes)?;
    let Value::Object(object) = &whole else {
        return Err(Fault::invalid("JSON, and not an object").hint(ALONE));
    };
    let found = match key {
        Some(key) => at(&whole, key)?,
        // What lacks a field is told so.
        None if object.contains_key("version") && object.contains_key("job_id") => &whole,
        None => only(&whole)?,
    };
    State::from_json(&found.to_string()).map_err(|error| Fault::from_error(Kind::Invalid, &error))
}

const ALONE: &str = "pass what state_dict() gave, as json.dump wrote it";

/// JSON, or else the repr of a dict: a state holds no quote, so only the quotes differ.
fn json(bytes: &[u8]) -> Result<Value, Fault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fault::from_error(Kind::Invalid, &error).context("not text").hint(ALONE))?;
    serde_json::from_str(text).or_else(|error| {
        let repr = serde_json::from_str(&text.replace('\'', "\""));
        repr.map_err(|_| Fault::from_error(Kind::Invalid, &error).context("not JSON").hint(ALONE))
    })
}

fn at<'a>(whole: &'a Value, key: &str) -> Result<&'a Value, Fault> {
    let step = |value: &'a Value, part: &str| match value {
        Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
        value => value.get(part),
    };
    key.split('.').try_fold(whole, step).ok_or_else(|| {
        let found = states(whole);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        let known = if names.is_empty() { "there is no loader state in it".into() } else { names.join(", ") };
        Fault::invalid(format!("nothing is called {key:?}")).hint(format!("loader states: {known}"))
    })
}

fn only(whole: &Value) -> Result<&Value, Fault> {
    let found = states(whole);
    match found.as_slice() {
        [(_, state)] => Ok(state),
        [] => Err(Fault::invalid("no loader state is in it").hint(ALONE)),
        several => {
            let names: Vec<_> = several.iter().take(8).map(|(name, _)| name.as_str()).collect();
            let message = format!("{} loader states are in it: {}", several.len(), names.join(", "));
            Err(Fault::invalid(message).hint(format!("choose one, as in --key {}", names[0])))
        }
    }
}

/// Every state beneath `value`, with the way to it. serde_json bounds the depth.
fn states(value: &Value) -> Vec<(String, &Value)> {
    fn walk<'a>(value: &'a Value, way: &str, found: &mut Vec<(String, &'a Value)>) {
        let below = |name: &str| if way.is_empty() { name.to_owned() } else { format!("{way}.{name}") };
        match value {
            Value::Object(object) if object.contains_key("order_digest") => {
                found.push((way.to_owned(), value));
            }
            Value::Object(object) => object.iter().for_each(|(name, value)| walk(value, &below(name), found)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(at, value)| walk(value, &below(&at.to_string()), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}
