//! An S3 on loopback for tests: `s3s-fs` over a folder, made atomic, and unreliable where a test asks for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    PutObjectInput, PutObjectOutput, UploadPartInput, UploadPartOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::Mutex;

const KEY: &str = "a-key";
const SECRET: &str = "a-secret";

/// A running server; it ends with the process.
pub struct Server {
    address: SocketAddr,
}

/// The bucket that is there.
pub const BUCKET: &str = "state";

/// Serves `folder`; every `fault_every`-th PUT that wrote answers as if it had not. 0: none.
pub fn serve(folder: &Path, fault_every: u32) -> Server {
    std::fs::create_dir(folder.join(BUCKET)).expect("a new folder");
    let files = FileSystem::new(folder).expect("the folder is there");
    let store = Store {
        files,
        folder: folder.to_owned(),
        turn: Mutex::new(()),
        puts: AtomicU32::new(0),
        fault_every,
    };
    let mut service = S3ServiceBuilder::new(store);
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let service = service.build().into_shared();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("it is bound");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
    });
    Server { address }
}

impl Server {
    /// What a client's environment holds to reach it.
    pub fn env(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address);
        let pairs = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }
}

/// `s3s-fs` looks and then writes; between the two another request may write, which S3 does not let it. It makes
/// buckets as they are named, too.
struct Store {
    files: FileSystem,
    folder: PathBuf,
    turn: Mutex<()>,
    puts: AtomicU32,
    fault_every: u32,
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let _turn = self.turn.lock().await;
        if !self.folder.join(&request.input.bucket).exists() {
            return Err(s3_error!(NoSuchBucket));
        }
        let there = self.folder.join(&request.input.bucket).join(&request.input.key).exists();
        if request.input.if_none_match.take().is_some() && there {
            return Err(s3_error!(PreconditionFailed));
        }
        let written = self.files.put_object(request).await;
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        if self.fault_every > 0 && number.is_multiple_of(self.fault_every) {
            return Err(match number / self.fault_every % 3 {
                0 => s3_error!(InternalError),
                1 => s3_error!(SlowDown),
                _ => s3_error!(OperationAborted),
            });
        }
        written
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(request).await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files.list_objects_v2(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        // A part that the store will not take, after one that it took.
        if request.input.key.contains("refused") && request.input.part_number > 1 {
            return Err(s3_error!(AccessDenied));
        }
        self.files.upload_part(request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.files.complete_multipart_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(request).await
    }
}
