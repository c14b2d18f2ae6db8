# What the installer says: progress to standard output, failures to standard error.

say() {
  printf '%s\n' "$*"
}

fail() {
  printf 'tools/install: %s\n' "$*" >&2
  exit 1
}

# Runs a command and shows its output only when it fails. The command does not get
# the installer's lock: a package may start a server, which would hold it for ever.
run_quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 9>&- || status=$?
  if [[ $status -ne 0 ]]; then
    cat "$log" >&2
  fi
  rm -f "$log"
  return "$status"
}
