# Shell code that the scripts in tools/ share. Sourced by sh and bash; `root` must name the source tree.
# Every message goes to stderr as one line that starts with the script's name.

me=${0##*/}
say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$*"; exit 1; }

# Debian and Ubuntu names of what a build needs, and of what the tests and checks need besides.
build_packages="g++ meson ninja-build pkg-config patch fuse3 libfuse3-dev libxxhash-dev liblz4-dev libzstd-dev libfmt-dev
  libspdlog-dev libcli11-dev nlohmann-json3-dev libexpected-dev"
check_packages="libgtest-dev libgmock-dev ccache clang clang-format python3 python3-xxhash git rsync sqlite3 vim attr acl
  make gcc util-linux procps liburing-dev libnuma-dev"

# Prints those of the given packages that dpkg does not know as installed.
missing_packages() {
  for package in "$@"; do
    case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
      "install ok installed") ;;
      *) printf '%s ' "$package" ;;
    esac
  done
}

# Installs the packages that are missing; touches neither apt nor the network when none is.
# Without apt-get nothing is installed: Meson will name what it cannot find.
need_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "no apt-get here: install by hand what Meson does not find (Debian's names are in tools/lib.sh)"
    return 0
  fi
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  as_root=
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing and only root can install them: $missing"
    as_root=sudo
  fi
  say "installing $missing"
  log=$(mktemp)
  # The lists of a fresh machine are empty or old: an install that fails is tried again after an update.
  # shellcheck disable=SC2086
  if ! apt_install $missing >"$log" 2>&1 && ! { apt_update && apt_install $missing; } >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "apt-get could not install: $missing (whole log: $log)"
  fi
  rm -f "$log"
}
apt_update() { $as_root apt-get -q update; }
apt_install() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

# Configures a build directory, or changes the options of one that is configured: configure DIR [meson options].
# CC and CXX count at the first configuration only. Meson's own words are shown only when it fails.
configure() {
  dir=$1
  shift
  log=$(mktemp)
  # A directory that cannot be changed was made elsewhere, or by a Meson that is gone: made anew.
  if ! { [ -f "$dir/build.ninja" ] && meson configure "$dir" "$@" >"$log" 2>&1; }; then
    rm -rf "$dir"
    if ! meson setup "$dir" "$root" "$@" >"$log" 2>&1; then
      tail -n 30 "$log" >&2
      rm -f "$log"
      say "meson could not configure $dir"
      return 1
    fi
  fi
  rm -f "$log"
}

# Why nothing can be mounted here, or nothing at all when it can.
why_no_fuse() {
  if [ ! -e /dev/fuse ]; then
    echo "/dev/fuse is missing (load the fuse module, or give the container that device)"
  elif ! (exec 3<>/dev/fuse) 2>/dev/null; then
    echo "/dev/fuse cannot be opened by $(id -un)"
  elif [ "$(id -u)" -ne 0 ] && ! command -v fusermount3 >/dev/null; then
    echo "fusermount3 is missing (package fuse3), and only root mounts without it"
  fi
}
