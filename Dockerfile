# The server; by default with its tests as prebuilt executables, which need no network and no toolchain.
#   docker build -t bulkhead .
#   docker run -d -p 80:80 bulkhead             serves
#   docker run --rm bulkhead run_tests.sh       runs the tests
#   docker build -t bulkhead:server --target server .     the server alone: no tests, no shell

FROM rust:1.95-slim-bookworm AS toolchain
WORKDIR /src
# cargo-auditable writes the list of crates into what it builds; `make sbom` and scanners read it from there. Its own
# speed does not matter.
RUN rustup target add wasm32-wasip2 \
 && CARGO_PROFILE_RELEASE_OPT_LEVEL=0 cargo install --locked cargo-auditable@0.7.7

# Dependencies are built from manifests alone. Their layer is built again when a manifest changes, and not when a
# source file does. Mounted caches would do the same, but the classic builder does not have them.
FROM toolchain AS skeleton
COPY . .
RUN docker/skeleton.sh /skeleton

FROM toolchain AS dependencies
COPY --from=skeleton /skeleton .
RUN cargo auditable build --release --locked -p bulkhead

FROM dependencies AS build
COPY . .
# Cargo compares times, and the sources may be older than the stand-ins that were built.
RUN find . -path ./target -prune -o -type f -exec touch {} + \
 && cargo auditable build --release --locked -p bulkhead \
 && docker/collect_server.sh /server

# Both images have the same settings and labels. They are written twice, because the images have different bases.
# tests/image.sh compares them.
FROM scratch AS server
COPY --from=build /server /
USER 65532:65532
VOLUME /data
# Docker lets containers bind ports below 1024 without privileges.
ENV BULKHEAD_LISTEN=0.0.0.0:80 BULKHEAD_STORE=sqlite:/data/bulkhead.db
EXPOSE 80
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/bulkhead", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/bulkhead"]
CMD ["serve"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=https://example.invalid/bulkhead
LABEL org.opencontainers.image.title="Bulkhead" \
      org.opencontainers.image.description="Opens OpenPGP messages in a WebAssembly sandbox, makes tokens, relays signatures" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM dependencies AS test-dependencies
RUN cargo auditable test --release --locked --no-run

FROM test-dependencies AS test-build
COPY . .
RUN find . -path ./target -prune -o -type f -exec touch {} + \
 && docker/collect_tests.sh /tests /mocks

FROM debian:bookworm-slim AS tests
# For the store of the relay; owned by the user that the server runs as.
RUN mkdir -m 0700 /data && chown 65532:65532 /data
COPY --from=build /server/usr/local/bin/bulkhead /usr/local/bin/bulkhead
COPY --from=test-build /tests /opt/bulkhead/tests
COPY --from=test-build /mocks /opt/bulkhead/mocks
COPY tests/fixtures/messages /opt/bulkhead/fixtures/messages
COPY wit /opt/bulkhead/wit
COPY docker/entrypoint.sh /opt/bulkhead/entrypoint.sh
COPY docker/run_tests.sh /opt/bulkhead/run_tests.sh
COPY tests/search_logs.sh tests/skips.sh tests/allowed-skips /opt/bulkhead/
USER 65532:65532
VOLUME /data
ENV BULKHEAD_LISTEN=0.0.0.0:80 BULKHEAD_STORE=sqlite:/data/bulkhead.db
EXPOSE 80
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/bulkhead", "healthcheck"]
ENTRYPOINT ["/opt/bulkhead/entrypoint.sh"]
CMD ["serve"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=https://example.invalid/bulkhead
LABEL org.opencontainers.image.title="Bulkhead" \
      org.opencontainers.image.description="Opens OpenPGP messages in a WebAssembly sandbox, makes tokens, relays signatures" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
