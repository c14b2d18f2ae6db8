# PostgreSQL: any server that is in Debian's place, or the one whose programs stand in
# the directory POSTGRES_BIN. Debian's package also sets up a server of its own on port
# 5432, which the tests do not use.

describe_postgresql() {
  printf 'PostgreSQL server, from Debian'
}

# The newest server's directory of programs, as testkit chooses it.
postgresql_programs() {
  if [[ -n ${POSTGRES_BIN:-} ]]; then
    printf '%s\n' "$POSTGRES_BIN"
  else
    find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/initdb' -printf '%h\n' 2>/dev/null |
      sort --version-sort | tail -n 1
  fi
}

packages_postgresql() {
  if [[ -n ${POSTGRES_BIN:-} && ! -x $POSTGRES_BIN/initdb ]]; then
    fail "POSTGRES_BIN is $POSTGRES_BIN, where there is no initdb; correct it or unset it"
  fi
  if [[ -z $(postgresql_programs) ]]; then
    printf 'postgresql\n'
  fi
}

fetch_postgresql() {
  say "postgresql: present in $(postgresql_programs)"
}
