//! Compiles the C shim over libjpeg-turbo (feature `turbo`); otherwise does nothing and needs no C compiler.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "turbo")]
    build_jpeg_shim();
}

#[cfg(feature = "turbo")]
fn build_jpeg_shim() {
    println!("cargo:rerun-if-changed=src/decode/jpeg/turbo.c");
    let mut shim = cc::Build::new();
    shim.file("src/decode/jpeg/turbo.c").opt_level(2).warnings(true).extra_warnings(true);
    // turbojpeg-sys names its headers here, so that the shim and the library it links are the same version.
    let include_dirs =
        std::env::var("DEP_TURBOJPEG_INCLUDE").expect("turbojpeg-sys names its include folder");
    shim.includes(include_dirs.split(','));
    shim.compile("forebay_jpeg_shim");
}
