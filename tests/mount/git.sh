#!/bin/bash
# git: a repository made, cloned with hard links, checked and looked at again after a remount.
. "$(dirname "$0")/lib.sh"
need git
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org

clean() { same "$(git -C "$1" status --porcelain)" "" "git status in $1"; }

repositories() {
  cd "$mnt"
  git init -q repo
  cp -a "$(sample_tree)" repo/headers
  git -C repo add -A
  git -C repo commit -qm first
  for i in {1..20}; do
    echo "$i" >>repo/counter
    git -C repo add counter
    git -C repo commit -qm "commit $i"
  done
  git -C repo checkout -q -b side HEAD~10
  git -C repo rm -rq headers
  git -C repo commit -qm "without headers"
  git -C repo checkout -q -
  git -C repo -c pack.threads=1 gc -q
  clean repo
  git clone -q repo clone
  clean clone
  same "$(stat -c %h clone/.git/objects/pack/*.pack)" 2 "git clone links packs"
  git -C repo fsck --full --strict 2>&1 | { grep -v '^dangling' || true; } >"$work/git.out"
  same "$(cat "$work/git.out")" "" "git fsck"
  head=$(git -C clone rev-parse HEAD)

  cd "$work"; remount; cd "$mnt"
  git -C repo fsck --full
  git -C clone fsck --full
  same "$(git -C clone rev-parse HEAD)" "$head" "HEAD of the clone"
  clean repo
  clean clone
}

in_both_modes repositories
