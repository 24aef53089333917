# syntax=docker/dockerfile:1
# The program alone, run by a user without rights:
#   docker build -t sessionlake .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" sessionlake run

# The version of rust-toolchain.toml, which stays out of the build: it would ask for more parts.
FROM rust:1.95.0-slim-trixie AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
# Named in Cargo.toml, though not built here.
COPY benches/micro.rs benches/micro.rs
COPY tests/main.rs tests/main.rs
COPY sql sql
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin sessionlake \
    && strip -o /sessionlake target/release/sessionlake

FROM debian:trixie-20260803-slim
# What https is checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /sessionlake /usr/local/bin/sessionlake
# sessionlake.toml is looked for here.
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["sessionlake"]
CMD ["--help"]
