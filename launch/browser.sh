# Sourced by test.sh: a browser, and axe-core from the npm registry, with which tests open every page that the project
# writes. Nothing is installed: where chromium or npm is missing, those tests skip and one line says why.
# M3IT_AXE names an axe.min.js that is there already; M3IT_NO_BROWSER=1 leaves the tests out.

AXE_FOLDER="$ROOT/.venv-axe" # ignored by git, as every .venv* is
AXE_VERSION=4.14.1
# `sha512sum` of the tarball that `npm pack` gave on 1 December 2026.
AXE_SHA512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73\
4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
no_browser="" # why the pages are not opened

skip_browser() {
  no_browser="$1"
  unset M3IT_AXE
  say "pages are not opened in a browser: $1"
}

find_browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if "$name" --version >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  return 1
}

# make_browser: finds the browser and fetches axe-core once; never fails, for nothing else needs them.
make_browser() {
  if [ -n "${M3IT_NO_BROWSER:-}" ]; then
    skip_browser "M3IT_NO_BROWSER is set"
  elif ! BROWSER="$(find_browser)"; then
    skip_browser "no chromium or google-chrome runs here; install one (Debian: apt-get install chromium)"
  elif [ -n "${M3IT_AXE:-}" ]; then
    [ -f "$M3IT_AXE" ] || skip_browser "M3IT_AXE=$M3IT_AXE is no file"
  elif [ -f "$AXE_FOLDER/axe-$AXE_VERSION.min.js" ]; then
    export M3IT_AXE="$AXE_FOLDER/axe-$AXE_VERSION.min.js"
  elif ! command -v npm >/dev/null; then
    skip_browser "npm, which fetches axe-core, is not installed; set M3IT_AXE to an axe.min.js"
  else
    fetch_axe
  fi
}

fetch_axe() {
  local tarball="$AXE_FOLDER/axe-core-$AXE_VERSION.tgz" log="$AXE_FOLDER/npm.log" found
  mkdir -p "$AXE_FOLDER"
  rm -f "$tarball"
  if ! (cd "$AXE_FOLDER" && npm pack "axe-core@$AXE_VERSION" --silent --ignore-scripts --fetch-retries=1) >"$log" 2>&1; then
    skip_browser "npm could not fetch axe-core $AXE_VERSION (details: $log); set M3IT_AXE to an axe.min.js"
    return
  fi
  found="$("$PYTHON" -c 'import hashlib, sys; print(hashlib.sha512(open(sys.argv[1], "rb").read()).hexdigest())' "$tarball")"
  if [ "$found" != "$AXE_SHA512" ]; then
    skip_browser "$tarball is not the axe-core that is known here: SHA-512 begins ${found:0:16}, must begin ${AXE_SHA512:0:16}"
    return
  fi
  tar -xzf "$tarball" -C "$AXE_FOLDER" package/axe.min.js package/LICENSE || {
    skip_browser "$tarball cannot be unpacked"
    return
  }
  mv "$AXE_FOLDER/package/axe.min.js" "$AXE_FOLDER/axe-$AXE_VERSION.min.js"
  export M3IT_AXE="$AXE_FOLDER/axe-$AXE_VERSION.min.js"
}

# say_browser: whether the pages were opened, in one line; test.sh ends with it.
say_browser() {
  if [ -n "$no_browser" ]; then
    say "pages: not opened in a browser ($no_browser)"
  else
    say "pages: opened in $("$BROWSER" --version 2>/dev/null | head -n 1), looked at by $M3IT_AXE"
  fi
}
