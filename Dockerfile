# The images of all five services and of the gateway. An argument selects one:
#
#     docker build --build-arg SERVICE=user-service -t microservices-lab/user-service:0.1.0 .
#
# The build compiles all of them at once, so the other images cost nothing more.

FROM rust:1.95-slim-bookworm AS toolchain
WORKDIR /shop
# A statically linked program runs in an image without a C library. Its relocations, half a
# megabyte, are packed. With an explicit target, both flags do not apply to build scripts and
# macros.
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
    CARGO_BUILD_TARGET=host-tuple CARGO_TARGET_DIR=/target
# The profile of cargo: with `dist` the programs are smaller than with `release`; a build after a
# change takes twice as long.
ARG PROFILE=dist

# ---- the libraries, built again only when a Cargo.toml or Cargo.lock changes
FROM toolchain AS libraries
COPY Cargo.toml Cargo.lock ./
COPY chassis/Cargo.toml chassis/
COPY frameworks/axum/Cargo.toml frameworks/axum/
COPY frameworks/rocket/Cargo.toml frameworks/rocket/
COPY frameworks/poem/Cargo.toml frameworks/poem/
COPY frameworks/warp/Cargo.toml frameworks/warp/
COPY frameworks/actix-web/Cargo.toml frameworks/actix-web/
COPY user-service/Cargo.toml user-service/
COPY product-service/Cargo.toml product-service/
COPY order-service/Cargo.toml order-service/
COPY notification-service/Cargo.toml notification-service/
COPY analytics-service/Cargo.toml analytics-service/
COPY gateway/Cargo.toml gateway/
COPY framework-comparison/Cargo.toml framework-comparison/
COPY tests/Cargo.toml tests/
COPY bench/Cargo.toml bench/
COPY exercises/Cargo.toml exercises/
COPY harness/Cargo.toml harness/
COPY lab/Cargo.toml lab/
# Empty crates with the same dependencies. Their manifests must not name programs, tests and
# examples that do not exist, so those sections are removed.
RUN for manifest in */Cargo.toml */*/Cargo.toml; do \
        crate=$(dirname "$manifest") && \
        mkdir "$crate/src" && touch "$crate/src/lib.rs" && echo 'fn main() {}' >"$crate/src/main.rs" && \
        awk '/^\[/ { named = /^\[\[/ } !named' "$manifest" >/tmp/Cargo.toml && mv /tmp/Cargo.toml "$manifest" || exit; \
    done
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --locked --profile "$PROFILE" --package '*-service' --package gateway
# Remove the build output of the empty crates: to cargo it would look newer than the real sources.
RUN cargo clean --workspace --profile "$PROFILE" --target "$(rustc -vV | sed -n 's/^host: //p')"

# ---- the programs, built in a cache that starts with the libraries
FROM toolchain AS programs
COPY --from=libraries /shop ./
COPY chassis chassis
COPY frameworks frameworks
COPY user-service user-service
COPY product-service product-service
COPY order-service order-service
COPY notification-service notification-service
COPY analytics-service analytics-service
COPY gateway gateway
COPY lab lab
# cargo compares file times, and the files of another checkout may be older than the cache. So
# files that differ from those of the cache get a new time.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target,from=libraries,source=/target \
    find . -type f | while read -r file; do \
        cmp -s "$file" "/target/built-of/$file" || touch "$file"; \
    done && \
    rm -rf /target/built-of && \
    cargo build --locked --profile "$PROFILE" --package '*-service' --package gateway && \
    cp -r . /target/built-of && \
    for program in /target/*/"$PROFILE"/*-service /target/*/"$PROFILE"/gateway; do \
        name=$(basename "$program") && \
        "$program" --version | grep . && \
        mkdir -p "/images/$name/bin" && \
        cp "$program" "/images/$name/bin/" && \
        ln -s "bin/$name" "/images/$name/service" || exit; \
    done

# ---- a throw-away shell on the lab's network: scripts/lab.sh shell
FROM debian:bookworm-slim AS shell
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*
USER 65532:65532
CMD ["bash"]

# ---- the image of one program: the program, also as /service
FROM scratch
ARG SERVICE=name-it-with---build-arg-SERVICE
LABEL org.opencontainers.image.title="$SERVICE" \
      org.opencontainers.image.description="A program of a microservices teaching lab in Rust: one of five services, or the gateway" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=programs /images/${SERVICE} /
# The user nobody. A number, so that Kubernetes can check that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/service"]
