# git, a build of this project, editors, npm. Sourced by apps.sh.
# shellcheck shell=bash

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
source_root=$(cd "$here/../.." && pwd)

app_git() {
  command -v git >/dev/null || lacks git
  if ! git -c safe.directory='*' clone -q --no-hardlinks "$source_root" repo 2>/dev/null; then
    git init -q repo && cp -r "$source_root/src" repo && git -C repo add -A && git -C repo commit -qm first
  fi
  cd repo
  git checkout -q -B work
  git worktree add -q ../worktree -b side
  for i in {1..10}; do echo "$i" >"../worktree/side-$i" && git -C ../worktree add . && git -C ../worktree commit -qm "side $i"; done
  for i in {1..5}; do echo "$i" >"work-$i" && git add . && git commit -qm "work $i"; done
  git -C ../worktree rebase -q work
  same "$(git -C ../worktree rev-list --count work..side)" 10 "commits after the rebase"
  git -c pack.threads=2 gc -q --prune=now
  git worktree remove ../worktree
  same "$(git fsck --full --strict 2>&1 | grep -v '^dangling' || true)" "" "git fsck"
  same "$(git status --porcelain)" "" "git status"
}

app_build() {
  $full || exit 77
  command -v meson >/dev/null || lacks meson
  meson setup -Dtests=false build "$source_root" >log 2>&1 || { tail log >&2; fail "meson"; }
  ninja -C build --quiet >log 2>&1 || { tail log >&2; fail "ninja"; }
  same "$(ninja -C build | tail -1)" "ninja: no work to do." "a second build"
  build/tools/cairnfs --version >/dev/null
}

app_editors() {
  seq 1 1000 >text && chmod 640 text
  sed -i s/500/changed/ text
  same "$(grep -c changed text) $(stat -c %a text)" "1 640" "sed -i"
  seq 1 1000 >other
  diff -u text other >difference || true
  patch -s text difference
  cmp text other || fail "patch"
  if command -v vim >/dev/null; then
    for i in {1..5}; do vim -es -u NONE -c 'set backup backupdir=. writebackup' -c "%s/^10$i\$/vim$i/" -c wq text || fail "vim"; done
    same "$(grep -c vim text)" 5 "what vim changed"
    [ -e text~ ] || fail "vim's backup"
  fi
  # logrotate: renames under a writer that keeps its file, and copytruncate.
  exec {log}>>messages
  for i in {1..200}; do
    echo "line $i" >&"$log"
    [ $((i % 50)) -ne 0 ] || { mv messages "messages.$i"; exec {log}>>messages; }
  done
  echo last >&"$log"
  same "$(cat messages.50 messages.100 messages.150 messages.200 messages | wc -l)" 201 "lines of rotated logs"
  cp messages.200 copied && exec {copied}>>copied && echo more >&"$copied" && : >copied && echo anew >&"$copied"
  same "$(cat copied)" anew "after copytruncate"
}

# npm is itself a package of some hundred others, which it carries along: no network is needed.
app_npm() {
  $full || exit 77
  local package
  command -v npm >/dev/null || lacks npm
  package=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
  export npm_config_cache=$PWD/cache npm_config_offline=true npm_config_audit=false npm_config_fund=false
  npm pack --silent --ignore-scripts "$package" >/dev/null || fail "npm pack"
  mkdir project && cd project
  echo '{"name": "x", "version": "1.0.0"}' >package.json
  npm install --silent ../npm-*.tgz || fail "npm install"
  diff -r "$package/lib" node_modules/npm/lib || fail "what npm installed"
  node node_modules/npm/bin/npm-cli.js --version >/dev/null || fail "the installed npm"
}
