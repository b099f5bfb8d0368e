# docker build -f deploy/trackd.Dockerfile -t trackd .
# docker run -v "$PWD/in:/in" -v "$PWD/out:/out" -v "$PWD/model.safetensors:/model.safetensors:ro" trackd
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release -p trackd --bin trackd

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ffmpeg && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/trackd /usr/local/bin/trackd
RUN useradd --system --create-home trackd
USER trackd
STOPSIGNAL SIGTERM
ENTRYPOINT ["trackd", "watch", "--inbox", "/in", "--outbox", "/out", "--model", "/model.safetensors"]
