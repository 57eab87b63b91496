//! Generates the Rust of `holdfast.v1` from the .proto files, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=holdfast");
    let files = protox::compile(
        [
            "holdfast/v1/enrolment.proto",
            "holdfast/v1/relay.proto",
            "holdfast/v1/statement.proto",
            "holdfast/v1/uplink.proto",
        ],
        ["."],
    )?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
