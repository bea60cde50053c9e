//! Names the version of the binary interface in the shared library, so that a program finds the one that it
//! was linked with.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if ["linux", "freebsd", "netbsd", "openbsd", "android"].contains(&target.as_str()) {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libpeer_health_c.so.1");
    }
}
