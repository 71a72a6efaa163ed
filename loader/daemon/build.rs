//! Compiles the C shim over libjpeg-turbo (feature `turbo`); otherwise does nothing and needs no C compiler.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "turbo")]
    build_jpeg_shim();
}

#[cfg(feature = "turbo")]
fn build_jpeg_shim() {
    let mut shim = cc::Build::new();
    for file in ["turbo.c", "region.c"].map(|name| format!("src/decode/jpeg/{name}")) {
        println!("cargo:rerun-if-changed={file}");
        shim.file(file);
    }
    println!("cargo:rerun-if-changed=src/decode/jpeg/region.h");
    shim.opt_level(2).warnings(true).extra_warnings(true);
    // Old bytes in libjpeg's memory are overwritten, so that a result that depends on them shows in tests.
    let fuzzed = std::env::var_os("CARGO_CFG_FUZZING").is_some();
    if fuzzed || std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        shim.define("FBJ_SPOIL", None);
    }
    // turbojpeg-sys names its headers here, so that the shim and the library it links are the same version.
    let include_dirs =
        std::env::var("DEP_TURBOJPEG_INCLUDE").expect("turbojpeg-sys names its include folder");
    shim.includes(include_dirs.split(','));
    shim.compile("forebay_jpeg_shim");
}
