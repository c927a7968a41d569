# kubectl: each call is a process of its own.
# shellcheck shell=sh disable=SC2148,SC2034
refusal='(Forbidden)'
pause=2
fetch() { kubectl get pods -o name >/dev/null && sha256sum </var/run/exeat/kubernetes/token | cut -c1-12; }
use() { fetch; }
denied() { kubectl get secrets; }
