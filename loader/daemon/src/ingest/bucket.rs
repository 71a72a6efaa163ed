//! What lies under a prefix of a bucket, copied from or to.
//!
//! An object that is written here carries the time of its source, and one that fits a single request its blake3 too, as
//! metadata: so a second run knows it, and whoever reads it can tell whether it is what was written. The store checks
//! each request against a SHA-256 of its bytes (`x-amz-checksum-sha256`) before it takes them. An object is there whole
//! or not at all; a large one that fails takes the parts back that it has sent.

use std::collections::HashMap;
use std::io;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use object_store::aws::{AmazonS3, Checksum};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, Error, GetOptions, GetResult, MultipartUpload, ObjectMeta,
    ObjectStore as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};
use tokio_stream::StreamExt as _;

use super::end::{End, Listing, Stat, Take, Whole};
use crate::crash;
use crate::error::{Fault, Kind};
use crate::records::bucket_client;

/// So long a request may be silent.
const ATTEMPT: Duration = Duration::from_secs(30);

/// So often a request is sent again, with waits that grow from a tenth of a second.
const RETRIES: usize = 5;

/// An object of at most so many bytes is written by one request, a larger one in parts of so many, or more.
const PART_BYTES: u64 = 8 << 20;

/// S3 takes 10 000 parts.
const PARTS_MAX: u64 = 9_000;

const MODIFIED: &str = "forebay-modified-ns";
const BLAKE3: &str = "forebay-blake3";

/// A prefix of a bucket.
pub struct Bucket {
    place: String,
    store: AmazonS3,
    prefix: Path,
    /// Sizes and times of what was there when it was listed, by name.
    known: RwLock<HashMap<Vec<u8>, Stat>>,
    runtime: Runtime,
}

impl Bucket {
    /// Sets up a client for `s3://bucket/prefix` from the `AWS_*` variables; asks nothing of it yet.
    ///
    /// # Errors
    /// Invalid: an address or settings that make no sense.
    pub fn open(place: &str, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Fault> {
        let invalid = |error: &(dyn std::error::Error + 'static)| {
            Fault::from_error(Kind::Invalid, error)
                .context(format!("open {place}"))
                .hint("write it as s3://bucket/prefix, and check the AWS_* variables")
        };
        let (builder, prefix) = bucket_client(place, env, ATTEMPT).map_err(|error| invalid(&*error))?;
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: Duration::from_secs(120),
        };
        let store = builder.with_retry(retry).with_checksum_algorithm(Checksum::SHA256).build();
        let store = store.map_err(|error| invalid(&error))?;
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_name("ingest-s3").enable_all().build();
        let runtime = runtime.map_err(|error| invalid(&error))?;
        let place = place.trim_end_matches('/').to_owned();
        Ok(Self { place, store, prefix, known: RwLock::default(), runtime })
    }

    fn path(&self, name: &[u8]) -> io::Result<Path> {
        let name = str::from_utf8(name)
            .map_err(|_| io::Error::other("its name is not UTF-8, which the name of an object must be"))?;
        let whole =
            if self.prefix.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        match Path::parse(&whole) {
            Ok(path) if path.as_ref() == whole => Ok(path),
            Ok(_) => Err(io::Error::other("its name begins or ends with a slash")),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn run<T>(&self, request: impl Future<Output = Result<T, Error>>) -> io::Result<T> {
        self.runtime.block_on(request).map_err(io::Error::from)
    }

    fn listed(&self, count: &mut dyn FnMut(u64)) -> io::Result<Vec<(Vec<u8>, Stat)>> {
        let mut stream = self.store.list(Some(&self.prefix));
        let mut found = Vec::new();
        while let Some(object) = self.runtime.block_on(stream.next()) {
            let object = object.map_err(io::Error::from)?;
            let Some(parts) = object.location.prefix_match(&self.prefix) else { continue };
            let parts: Vec<_> = parts.collect();
            let name = parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/");
            found.push((name.into_bytes(), stat_of(&object)));
            count(found.len() as u64);
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn keep(&self, listed: &[(Vec<u8>, Stat)]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = listed.iter().cloned().collect();
    }

    fn known(&self, name: &[u8]) -> Option<Stat> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    fn head(&self, path: &Path) -> io::Result<Option<GetResult>> {
        match self.run(self.store.get_opts(path, GetOptions { head: true, ..GetOptions::default() })) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads an object as it is now.
    ///
    /// * returns: what was read, and the blake3 of what was written here, as far as it says so.
    fn get(&self, name: &[u8], take: Take<'_>) -> io::Result<(Whole, Option<String>)> {
        let path = self.path(name)?;
        let found = self.run(self.store.get_opts(&path, GetOptions::default()))?;
        let stat = stat_of(&found.meta);
        let written = value(&found.attributes, BLAKE3).map(str::to_owned);
        let (mut stream, mut hasher, mut bytes) = (found.into_stream(), blake3::Hasher::new(), 0);
        // Not inside of one future: `take` may send to another bucket.
        while let Some(chunk) = self.runtime.block_on(stream.next()) {
            let chunk = chunk.map_err(io::Error::from)?;
            hasher.update(&chunk);
            bytes += chunk.len() as u64;
            take(&chunk)?;
        }
        if bytes != stat.bytes {
            return Err(io::Error::other(format!("{bytes} of {} bytes arrived", stat.bytes)));
        }
        Ok((Whole { stat, sum: hasher.finalize() }, written))
    }

    /// Writes an object by one request.
    fn put(&self, path: &Path, bytes: Vec<u8>, whole: &Whole, replace: bool) -> io::Result<()> {
        let sum = whole.sum.to_hex().to_string();
        let mut attributes = attributes(whole.stat);
        attributes.insert(metadata(BLAKE3), sum.clone().into());
        let mode = if replace { PutMode::Overwrite } else { PutMode::Create };
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        crash::place();
        let put = self.runtime.block_on(self.store.put_opts(path, bytes.into(), options));
        crash::place();
        match put {
            Ok(_) => Ok(()),
            // A request whose answer was lost is sent again and meets itself.
            Err(error @ Error::AlreadyExists { .. }) => match self.head(path)? {
                Some(there) if value(&there.attributes, BLAKE3) == Some(&*sum) => Ok(()),
                _ => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a file of another end and writes it in parts.
    fn put_parts(
        &self,
        path: &Path,
        from: &dyn End,
        name: &[u8],
        source: Stat,
        replace: bool,
        moved: &dyn Fn(u64),
    ) -> io::Result<Whole> {
        let options =
            PutMultipartOptions { attributes: attributes(source), ..PutMultipartOptions::default() };
        crash::place();
        let mut upload = self.run(self.store.put_multipart_opts(path, options))?;
        let sent = self.send(&mut *upload, from, name, source, moved).and_then(|whole| {
            if !replace && self.head(path)?.is_some() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "another came in since it was looked for",
                ));
            }
            crash::place();
            self.run(upload.complete())?;
            Ok(whole)
        });
        sent.map_err(|error| match self.run(upload.abort()) {
            Ok(()) => error,
            Err(left) => io::Error::new(
                error.kind(),
                format!(
                    "{error}; the parts that were sent stay in the bucket ({left}): a lifecycle rule \
                     AbortIncompleteMultipartUpload removes them"
                ),
            ),
        })
    }

    fn send(
        &self,
        upload: &mut dyn MultipartUpload,
        from: &dyn End,
        name: &[u8],
        source: Stat,
        moved: &dyn Fn(u64),
    ) -> io::Result<Whole> {
        let part_bytes = PART_BYTES.max(source.bytes.div_ceil(PARTS_MAX)) as usize;
        let mut part = Vec::with_capacity(part_bytes);
        let mut send = |part: Vec<u8>| {
            crash::place();
            self.run(upload.put_part(PutPayload::from(part)))
        };
        let whole = from.read(name, &mut |mut chunk: &[u8]| {
            moved(chunk.len() as u64);
            while !chunk.is_empty() {
                let (now, later) = chunk.split_at(chunk.len().min(part_bytes - part.len()));
                part.extend_from_slice(now);
                chunk = later;
                if part.len() == part_bytes {
                    send(std::mem::replace(&mut part, Vec::with_capacity(part_bytes)))?;
                }
            }
            Ok(())
        })?;
        if !part.is_empty() {
            send(part)?;
        }
        if whole.stat == source { Ok(whole) } else { Err(io::Error::other("it changed while it was copied")) }
    }
}

impl End for Bucket {
    fn shown(&self, name: &[u8]) -> String {
        format!("{}/{}", self.place, String::from_utf8_lossy(name))
    }

    fn list(&self, count: &mut dyn FnMut(u64)) -> io::Result<Listing> {
        let listed = self.listed(count)?;
        let mut listing = Listing::default();
        for (name, stat) in &listed {
            let inside = [name, &b"/"[..]].concat();
            let next = &listed[listed.partition_point(|(other, _)| *other < inside)..];
            // Consoles make folders by empty objects of their names.
            if stat.bytes == 0 && next.first().is_some_and(|(other, _)| other.starts_with(&inside)) {
                listing.passed_over.push(self.shown(name));
            } else {
                listing.files.push(name.clone());
            }
        }
        self.keep(&listed);
        Ok(listing)
    }

    /// Lists what is there, a request a thousand objects: asking for each by name would be one each.
    fn begin(&self, count: &mut dyn FnMut(u64)) -> io::Result<()> {
        self.listed(count).map(|listed| self.keep(&listed))
    }

    fn source(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        Ok(self.known(name))
    }

    fn copy(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        let Some(there) = self.known(name) else { return Ok(None) };
        let path = self.path(name)?;
        let modified = self.head(&path)?.and_then(|found| modified(&found.attributes));
        Ok(Some(Stat { modified, ..there }))
    }

    fn read(&self, name: &[u8], take: Take<'_>) -> io::Result<Whole> {
        let (whole, written) = self.get(name, take)?;
        if written.is_some_and(|written| written != *whole.sum.to_hex()) {
            return Err(io::Error::other("it is not what was written: its blake3 is another"));
        }
        Ok(whole)
    }

    fn hash(&self, name: &[u8]) -> io::Result<blake3::Hash> {
        self.get(name, &mut |_| Ok(())).map(|(whole, _)| whole.sum)
    }

    fn take(&self, from: &dyn End, name: &[u8], replace: bool, moved: &dyn Fn(u64)) -> io::Result<Whole> {
        let path = self.path(name)?;
        let gone = || io::Error::new(io::ErrorKind::NotFound, "it is gone since it was listed");
        let source = from.source(name)?.ok_or_else(gone)?;
        if source.bytes > PART_BYTES {
            return self.put_parts(&path, from, name, source, replace, moved);
        }
        let mut bytes = Vec::with_capacity(source.bytes as usize);
        let whole = from.read(name, &mut |chunk| {
            moved(chunk.len() as u64);
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        self.put(&path, bytes, &whole, replace).map(|()| whole)
    }

    /// Nothing lies aside in a bucket, but for parts of a writer that was killed, which only its owner's rules remove.
    fn sweep(&self, _names: &mut dyn Iterator<Item = &[u8]>) {}

    /// An answer of a bucket is a promise.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Times in whole seconds: a listing tells milliseconds in some stores, the header of an answer never does.
fn stat_of(object: &ObjectMeta) -> Stat {
    let since = Duration::from_secs(object.last_modified.timestamp().max(0) as u64);
    Stat { bytes: object.size, modified: Some(SystemTime::UNIX_EPOCH + since) }
}

fn metadata(name: &'static str) -> Attribute {
    Attribute::Metadata(name.into())
}

fn value<'a>(attributes: &'a Attributes, name: &'static str) -> Option<&'a str> {
    attributes.get(&metadata(name)).map(AsRef::as_ref)
}

fn attributes(source: Stat) -> Attributes {
    let mut attributes = Attributes::new();
    if let Some(modified) = source.modified {
        let ns = match modified.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        attributes.insert(metadata(MODIFIED), ns.to_string().into());
    }
    attributes
}

fn modified(attributes: &Attributes) -> Option<SystemTime> {
    let ns: i128 = value(attributes, MODIFIED)?.parse().ok()?;
    let since = Duration::from_nanos(u64::try_from(ns.unsigned_abs()).ok()?);
    if ns < 0 { SystemTime::UNIX_EPOCH.checked_sub(since) } else { SystemTime::UNIX_EPOCH.checked_add(since) }
}

/// What is wrong where a bucket cannot be listed, by what the store said.
///
/// * `env`: tells whether a variable is set.
pub fn cure(said: &str, env: impl Fn(&str) -> bool) -> (Kind, String) {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"];
    let roles = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    let has_credentials = keys.into_iter().chain(roles).any(env);
    if says(&["NoSuchBucket"]) {
        let cure = "there is no such bucket: check its name and AWS_ENDPOINT_URL; forebay makes no buckets";
        return (Kind::NotFound, cure.to_owned());
    }
    if says(&["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403 Forbidden"])
    {
        let cure = "the store refuses these credentials: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
                    AWS_SESSION_TOKEN; copying needs s3:ListBucket and s3:GetObject, a target also s3:PutObject and \
                    s3:AbortMultipartUpload";
        return (Kind::Denied, cure.to_owned());
    }
    if !has_credentials {
        let cure = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give the machine a role, or say \
                    AWS_SKIP_SIGNATURE=true for a public bucket";
        return (Kind::Denied, cure.to_owned());
    }
    if says(&["PermanentRedirect", "AuthorizationHeaderMalformed", "redirect"]) {
        return (Kind::Invalid, "the bucket lies in another region: set AWS_REGION".to_owned());
    }
    let cure = "check AWS_ENDPOINT_URL and the network, and run it again: what was copied is known";
    (Kind::Unavailable, cure.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_leads_to_its_cure() {
        let all = |_: &str| true;
        for (said, has, kind, words) in [
            ("<Code>NoSuchBucket</Code>", true, Kind::NotFound, "no such bucket"),
            ("<Code>SignatureDoesNotMatch</Code>", true, Kind::Denied, "refuses these credentials"),
            (
                "error sending request for url (http://169.254.169.254/)",
                false,
                Kind::Denied,
                "no credentials",
            ),
            ("Received redirect without LOCATION", true, Kind::Invalid, "AWS_REGION"),
            ("operation timed out", true, Kind::Unavailable, "run it again"),
        ] {
            let (found, cure) = if has { cure(said, all) } else { cure(said, |_| false) };
            assert!(found == kind && cure.contains(words), "{said}: {found:?} {cure}");
        }
    }

    #[test]
    fn times_before_and_behind_1970_come_back_from_metadata() {
        for ns in [-1_500_000_001_i64, 0, 1_790_000_000_123_456_789] {
            let since = Duration::from_nanos(ns.unsigned_abs());
            let time = if ns < 0 { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since };
            let stat = Stat { bytes: 1, modified: Some(time) };
            assert_eq!(modified(&attributes(stat)), Some(time), "{ns}");
        }
        assert_eq!(modified(&Attributes::new()), None);
    }
}
