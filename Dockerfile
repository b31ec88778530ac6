# The server, and its tests as prebuilt executables.
#   docker build -t bulkhead .
#   docker run -d -p 80:80 bulkhead             serves
#   docker run --rm bulkhead run_tests.sh       runs the tests; needs no network and no toolchain

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Before the sources, so that a change to those does not fetch it again.
RUN rustup target add wasm32-wasip2
COPY . .
RUN cargo build --release --workspace --all-targets --locked
RUN docker/collect_tests.sh /tests /mocks

FROM debian:bookworm-slim
# For the store of the relay; owned by the user the server runs as.
RUN mkdir -m 0700 /data && chown 65532:65532 /data
COPY --from=build /src/target/release/bulkhead /usr/local/bin/bulkhead
COPY --from=build /tests /opt/bulkhead/tests
COPY --from=build /mocks /opt/bulkhead/mocks
COPY tests/fixtures/messages /opt/bulkhead/fixtures/messages
COPY wit /opt/bulkhead/wit
COPY docker/entrypoint.sh /opt/bulkhead/entrypoint.sh
COPY docker/run_tests.sh /opt/bulkhead/run_tests.sh
COPY tests/search_logs.sh /opt/bulkhead/search_logs.sh
USER 65532:65532
VOLUME /data
# Docker lets containers bind ports below 1024 without privileges.
ENV BULKHEAD_LISTEN=0.0.0.0:80 BULKHEAD_STORE=sqlite:/data/bulkhead.db
EXPOSE 80
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/bulkhead", "healthcheck"]
ENTRYPOINT ["/opt/bulkhead/entrypoint.sh"]
CMD ["serve"]
