# The images of all five services; an argument names the one that is wanted:
#
#     docker build --build-arg SERVICE=user-service -t shop/user-service:0.1.0 .
#
# All five are built at once, so that the other four images are there at no cost.

FROM rust:1.95-slim-bookworm AS toolchain
WORKDIR /shop
# A program that brings its C library along runs in an image without one. With the
# target named, build scripts and macros are spared that.
ENV RUSTFLAGS="-C target-feature=+crt-static" CARGO_BUILD_TARGET=host-tuple
# cargo's: `release` builds in a third of the time, `dist` is the smaller and faster code.
ARG PROFILE=release

# ---- the libraries, which are built anew only when Cargo.toml or Cargo.lock change
FROM toolchain AS libraries
COPY Cargo.toml Cargo.lock ./
COPY chassis/Cargo.toml chassis/
COPY user-service/Cargo.toml user-service/
COPY product-service/Cargo.toml product-service/
COPY order-service/Cargo.toml order-service/
COPY notification-service/Cargo.toml notification-service/
COPY analytics-service/Cargo.toml analytics-service/
COPY framework-comparison/Cargo.toml framework-comparison/
COPY tests/Cargo.toml tests/
COPY bench/Cargo.toml bench/
COPY exercises/Cargo.toml exercises/
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    for crate in */; do \
        mkdir "$crate/src" && touch "$crate/src/lib.rs" && echo 'fn main() {}' >"$crate/src/main.rs" || exit; \
    done && \
    cargo build --locked --profile "$PROFILE" --package '*-service'
# What was built of these empty crates would look newer to cargo than sources that were
# written before.
RUN cargo clean --workspace --profile "$PROFILE" --target "$(rustc -vV | sed -n 's/^host: //p')"

# ---- the five programs: what is built stays in a cache, which begins with the libraries
FROM toolchain AS programs
COPY --from=libraries /shop/framework-comparison framework-comparison
COPY --from=libraries /shop/tests tests
COPY --from=libraries /shop/bench bench
COPY --from=libraries /shop/exercises exercises
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/shop/target,from=libraries,source=/shop/target \
    cargo build --locked --profile "$PROFILE" --package '*-service' && \
    for program in target/*/"$PROFILE"/*-service; do \
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

# ---- the image of one service: its program, and /service for whoever need not know which
FROM scratch
ARG SERVICE=name-it-with---build-arg-SERVICE
LABEL org.opencontainers.image.title="$SERVICE" \
      org.opencontainers.image.description="One of the five services of a microservices teaching lab in Rust" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=programs /images/${SERVICE} /
# Nobody: no such user is needed to be one. A number, so that it can be seen not to be root.
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/service"]
