//! Records as objects of a bucket, made with `If-None-Match: *`.

use std::collections::BTreeSet;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore as _, ObjectStoreExt as _, PutMode, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use super::attempt::{Put, Records, TooLarge, Trouble};
use super::error::Cause;
use super::name::RecordName;
use crate::crash;

/// A request as a whole: a large snapshot over a slow line.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A bucket, or what lies under a prefix of it.
pub(super) struct Bucket {
    store: AmazonS3,
    prefix: Path,
    /// The client's connections live here; taken when it ends.
    runtime: Option<Runtime>,
}

impl Bucket {
    /// Sets up a client for `s3://bucket/prefix` from the `AWS_*` variables of `env`; asks nothing of it yet.
    ///
    /// * `attempt`: so long a request may be silent.
    pub(super) fn open(
        url: &str,
        env: impl IntoIterator<Item = (String, String)>,
        attempt: Duration,
    ) -> Result<Self, Cause> {
        let (builder, prefix) = client(url, env, attempt)?;
        // Retries are ours: after a reply that says nothing, a record is read back before it is written again.
        let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let store = builder.with_retry(once).build()?;
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("state-root-s3").enable_all().build()?;
        Ok(Self { store, prefix, runtime: Some(runtime) })
    }

    fn path(&self, name: &RecordName) -> Path {
        name.as_str().split('/').fold(self.prefix.clone(), Path::join)
    }

    fn run<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("taken only when this ends").block_on(request)
    }
}

impl Records for Bucket {
    fn put_new(&self, name: &RecordName, bytes: &[u8]) -> Result<Put, Trouble> {
        let payload = Bytes::copy_from_slice(bytes).into();
        crash::place();
        let put = self.run(self.store.put_opts(&self.path(name), payload, PutMode::Create.into()));
        crash::place();
        match put {
            Ok(_) => Ok(Put::Written),
            // Also 409, another write under way: the read-back tells.
            Err(Error::AlreadyExists { .. }) => Ok(Put::Exists),
            Err(error) => Err(error.into()),
        }
    }

    fn get(&self, name: &RecordName, bytes_max: u64) -> Result<Option<Result<Vec<u8>, TooLarge>>, Trouble> {
        let path = self.path(name);
        self.run(async {
            let found = match self.store.get(&path).await {
                Ok(found) => found,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if found.meta.size > bytes_max {
                return Ok(Some(Err(TooLarge)));
            }
            Ok(Some(Ok(found.bytes().await?.into())))
        })
    }

    fn size(&self, name: &RecordName) -> Result<Option<u64>, Trouble> {
        match self.run(self.store.head(&self.path(name))) {
            Ok(found) => Ok(Some(found.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, folder: &RecordName, names_max: usize) -> Result<Vec<String>, Trouble> {
        let folder = self.path(folder);
        let listed = self.run(self.store.list_with_delimiter(Some(&folder)))?;
        let objects = listed.objects.iter().map(|object| &object.location);
        let below =
            objects.chain(&listed.common_prefixes).filter_map(|path| path.prefix_match(&folder)?.next());
        // A store that does not know delimiters lists what lies deeper too, many times over.
        let names: BTreeSet<_> = below.map(|part| part.as_ref().to_owned()).collect();
        Ok(names.into_iter().take(names_max + 1).collect())
    }
}

impl Drop for Bucket {
    /// A runtime may not be waited for by a thread of another one.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A client for `s3://bucket/prefix`, with the `AWS_*` variables of `env`, and the prefix.
///
/// * `attempt`: so long a request may be silent.
pub(crate) fn client(
    url: &str,
    env: impl IntoIterator<Item = (String, String)>,
    attempt: Duration,
) -> Result<(AmazonS3Builder, Path), Cause> {
    choose_tls();
    let address = url.strip_prefix("s3://").expect("the caller looked at the scheme");
    let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
    let builder = AmazonS3Builder::new().with_bucket_name(bucket);
    let known = env.into_iter().filter(|(name, _)| name.starts_with("AWS_"));
    let known: Vec<(AmazonS3ConfigKey, String)> =
        known.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value))).collect();
    // Whoever names an endpoint without TLS means it.
    let plain =
        known.iter().any(|(key, value)| *key == AmazonS3ConfigKey::Endpoint && value.starts_with("http://"));
    let client = ClientOptions::new()
        .with_connect_timeout(attempt)
        .with_read_timeout(attempt)
        .with_timeout(TIMEOUT)
        .with_allow_http(plain);
    let builder = builder.with_client_options(client);
    let builder = known.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
    Ok((builder, Path::parse(prefix)?))
}

/// What the bucket's owner must mend lasts; timeouts, dropped connections and 5xx may pass.
impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let lasting = matches!(
            error,
            Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::NotFound { .. }
                | Error::NotImplemented { .. }
                | Error::NotSupported { .. }
                | Error::InvalidPath { .. }
                | Error::UnknownConfigurationKey { .. }
        );
        Self { passing: !lasting, source: error.into() }
    }
}

/// The HTTP client is built without a TLS library of its own choice and takes the process's.
fn choose_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the process has chosen one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
