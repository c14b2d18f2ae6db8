# What compiling the workspace needs beside Rust itself: a C and C++ compiler and
# make for librdkafka, zlib and OpenSSL for its compression and TLS.

describe_build() {
  printf 'compilers and libraries that building the workspace needs'
}

packages_build() {
  not_installed ca-certificates g++ gcc libc6-dev libssl-dev make pkg-config zlib1g-dev
}

fetch_build() {
  if ! command -v cargo >/dev/null; then
    fail "Rust is missing; install it from https://rustup.rs, then run this again"
  fi
  say "build: compilers and libraries are present"
}
