# The loop of every client that is a program; a client's functions fetch, use and denied precede it. They say the credential's public name.
# shellcheck shell=sh disable=SC2148,SC2154  # refusal and pause are the client's own
say() { # STEP OK KEY ERROR
  error=$(printf %s "$4" | tr '\n\t\r' '   ' | sed 's/\\/\\\\/g; s/"/\\"/g')
  printf '{"step":"%s","ok":%s,"key":"%s","error":"%s"}\n' "$1" "$2" "$3" "$error"
}
while :; do
  for step in fetch use; do
    if key=$("$step" 2>/tmp/error); then say "$step" true "$key" ""; else say "$step" false "" "$(cat /tmp/error)"; fi
  done
  if denied >/tmp/error 2>&1; then say denied false "" ""; else
    case $(cat /tmp/error) in *"$refusal"*) ok=true ;; *) ok=false ;; esac
    say denied "$ok" "" "$(cat /tmp/error)"
  fi
  sleep "$pause"
done
