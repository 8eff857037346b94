#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whether other programs compute from exported folders what elastic.x computes: makes a Python environment per client from PyPI,
# random models and an elastic run, compares logits and greedy texts, and writes the table of doc/clients.md. Run by hand.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: scripts/clients.sh FOLDER [--clients LIST] [--llama SOURCE] [--page FILE]

  FOLDER           for environments (kept: the next call is short), models and results; some 15 GB with all clients
  --clients LIST   of transformers4, transformers5, mlx, llama, separated by commas; default: all
  --llama SOURCE   a checkout of llama.cpp whose converter is used; default: the one in llama-cpp-python's source on PyPI
  --page FILE      page to write the table into; default: doc/clients.md

Needs python3 with venv, network to PyPI (or what pip is configured for), and for llama a C++ compiler and cmake. A client that
cannot be installed is a line below the table. BUILD names the folder with elastic.x (default: build). Exit code 1: a mistake in the
call, or elastic.x failed.
TEXT
}

refuse() { echo "clients: $*; see scripts/clients.sh --help" >&2; exit 1; }

work="" clients=transformers4,transformers5,mlx,llama llama="" page=doc/clients.md
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --clients | --llama | --page) (($# > 1)) || refuse "$1 needs a value"
      printf -v "${1#--}" %s "$2"; shift ;;
    -*) refuse "unknown option $1" ;;
    *) [[ -z $work ]] || refuse "one folder, not $work and $1"; work=$1 ;;
  esac
  shift
done
[[ -n $work ]] || refuse "a folder is missing"
[[ -f $page ]] || refuse "$page: no such page"
for client in ${clients//,/ }; do
  [[ " transformers4 transformers5 mlx llama " == *" $client "* ]] || refuse "no client '$client'"
done
[[ -z $llama || -f $llama/convert_hf_to_gguf.py ]] || refuse "$llama: holds no convert_hf_to_gguf.py"
[[ -x $BUILD/elastic.x ]] || build elastic.x
mkdir -p "$work/results"
work=$(cd "$work" && pwd)

packages() {
  case $1 in
    transformers4) echo "torch transformers==4.57.*" ;;
    transformers5) echo "torch transformers>=5" ;;
    mlx) echo "mlx[cpu] mlx-lm" ;;
    llama) echo "torch transformers==4.57.* sentencepiece scikit-build-core" ;;  # as its requirements say
  esac
}

# The source of llama-cpp-python brings the one of llama.cpp with it, converter included.
llama_source() {
  local pip=$work/env/llama/bin/pip
  "$pip" download -q --no-deps --no-binary :all: --no-build-isolation -d "$work/llama" llama-cpp-python
  CMAKE_ARGS="-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF ${CMAKE_ARGS:-}" \
    "$pip" install -q "$work"/llama/llama_cpp_python-*.tar.gz
  tar -xzf "$work"/llama/llama_cpp_python-*.tar.gz -C "$work/llama"
}

environment() {
  [[ ! -e $work/env/$1/ready ]] || return 0
  python3 -m venv "$work/env/$1"
  # shellcheck disable=SC2046  # one word per package
  "$work/env/$1/bin/pip" install -q numpy h5py $(packages "$1") || return 1
  if [[ $1 == llama ]]; then llama_source || return 1; fi
  touch "$work/env/$1/ready"
}

ready=()
for client in ${clients//,/ }; do
  say "environment of $client"
  rm -f "$work/results/$client.json"
  if environment "$client"; then
    ready+=("$client")
  else
    echo "{\"version\": \"$client\", \"failed\": \"could not be installed\"}" >"$work/results/$client.json"
  fi
done
((${#ready[@]})) || refuse "none of the clients could be installed"

say "models, exports, what elastic.x says"
rm -rf "$work/models" "$work/cases" "$work/run"
"$work/env/${ready[0]}/bin/python" scripts/clients.py make "$work" "$BUILD/elastic.x"
if [[ -z $llama ]]; then llama=$(echo "$work"/llama/*/vendor/llama.cpp); fi
for client in "${ready[@]}"; do
  say "$client"
  "$work/env/$client/bin/python" -W ignore scripts/clients.py compare "$work" "$client" "$llama"
done
python3 scripts/clients.py table "$work" "$page" 2>/dev/null ||
  "$work/env/${ready[0]}/bin/python" scripts/clients.py table "$work" "$page"
say "table: $page"
