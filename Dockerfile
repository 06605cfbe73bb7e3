FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* \
    && rustup component add llvm-tools
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
COPY examples examples
COPY tests tests
COPY scripts scripts
# Both images have glibc 2.36.
RUN PGO=require PACK=1 scripts/pgo.sh && mkdir -p /state

# glibc and nothing else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/pgo/dualgate /dualgate
COPY --from=build --chown=1000:1000 /state /var/lib/dualgate
USER 1000:1000
EXPOSE 8080 8443 9090
VOLUME /var/lib/dualgate
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/dualgate", "health-check", "--self"]
ENTRYPOINT ["/dualgate"]
CMD ["run", "--config", "/etc/dualgate/dualgate.toml"]
