//! Compiles `forebay/v1/*.proto` without protoc: messages, the gRPC service, and the JSON mapping.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=forebay");
    let files = protox::compile(["forebay/v1/job.proto", "forebay/v1/service.proto"], ["."])?;
    let descriptor = files.encode_to_vec();
    tonic_prost_build::configure().build_client(true).compile_fds(files)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    pbjson_build::Builder::new().register_descriptors(&descriptor)?.out_dir(out).build(&[".forebay.v1"])?;
    Ok(())
}
