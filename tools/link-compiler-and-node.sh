#!/bin/sh
# Puts into the virtual environment
# * anvil itself: an Ape that stops npm's JavaScript launcher can leave the node behind;
# * the Solidity compiler of ape-config.yaml as .venv/solc, under the name py-solc-x looks for: a native
#   compiler of that version where the machine has one, else the WebAssembly build from npm.
set -eu

for anvil in node_modules/@foundry-rs/anvil-*/bin/anvil; do
  [ -x "$anvil" ] || { echo "error: npm brought no anvil for this machine" >&2; exit 1; }
  ln -sf "../../$anvil" .venv/bin/anvil
done

version=$(sed -n 's/^  version: *//p' ape-config.yaml)
target=.venv/solc/solc-v$version
mkdir -p .venv/solc

for native in "${SOLCX_BINARY_PATH:-/nonexistent}/solc-v$version" "$HOME/.solcx/solc-v$version" \
  "$(command -v solc || true)"; do
  case $native in "" | */.venv/*) continue ;; esac
  if [ -x "$native" ] && "$native" --version 2>/dev/null | grep -q "^Version: $version"; then
    ln -sf "$native" "$target"
    echo "solc $version: $native"
    exit 0
  fi
done

ln -sf ../../tools/solc.mjs "$target"
found=$("$target" --version | sed -n 's/^Version: //p')
case $found in
  "$version"+*) echo "solc $version: WebAssembly build from npm" ;;
  *)
    echo "error: ape-config.yaml asks for solc $version, package.json brings '$found'" >&2
    exit 1
    ;;
esac
