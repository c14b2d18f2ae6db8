# Debian packages: as root or with password-less sudo they are installed,
# otherwise the user is given the command.

# Prints those of the given packages that are not installed. On a system without
# dpkg nothing counts as installed.
not_installed() {
  local package
  for package in "$@"; do
    if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) != installed ]]; then
      printf '%s\n' "$package"
    fi
  done
}

# Prints the command that gives root's rights: nothing for root itself, `sudo`
# when it asks for no password. Fails when neither works.
root_prefix() {
  if [[ $(id -u) -eq 0 ]]; then
    return 0
  fi
  if sudo -n true 2>/dev/null; then
    printf 'sudo'
    return 0
  fi
  return 1
}

install_debian_packages() {
  if ! command -v apt-get >/dev/null; then
    fail "this system has no apt-get; install what these Debian packages contain, then run this again: $*"
  fi
  local prefix
  if ! prefix=$(root_prefix); then
    fail "packages are missing and only root may install them; run this, then run tools/install again:
  $(command_for_user "$@")"
  fi

  say "installing Debian packages: $*"
  hold_lock apt
  if ! all_known_to_apt "$@"; then
    update_package_lists "$prefix"
    run_apt_install "$prefix" "$@"
  elif ! run_apt_install "$prefix" "$@"; then
    say "the package lists look out of date"
    update_package_lists "$prefix"
    run_apt_install "$prefix" "$@"
  fi
  release_lock
}

command_for_user() {
  if ! all_known_to_apt "$@"; then
    printf 'sudo apt-get update && '
  fi
  printf 'sudo apt-get install --yes --no-install-recommends %s' "$*"
}

all_known_to_apt() {
  local package
  for package in "$@"; do
    if ! apt-cache show --no-all-versions "$package" >/dev/null 2>&1; then
      return 1
    fi
  done
}

update_package_lists() {
  local prefix=$1
  say "updating the package lists"
  # An empty prefix must vanish.
  # shellcheck disable=SC2086
  run_quietly $prefix apt-get update || fail "apt-get update failed; see the message above"
}

run_apt_install() {
  local prefix=$1
  shift
  # shellcheck disable=SC2086
  run_quietly $prefix env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@"
}
