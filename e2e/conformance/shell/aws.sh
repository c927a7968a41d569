# The AWS CLI: each call is a process of its own.
# shellcheck shell=sh disable=SC2148,SC2034
refusal='(AccessDenied)'
pause=8 # a process costs a second of CPU
fetch() { # of the key the CLI shows the end
  aws configure list >/tmp/list || return 1
  awk '$1 == "access_key" { print $2 }' /tmp/list | tee /tmp/key
}
use() { aws s3api get-object --bucket reports --key q3.txt /dev/null >/dev/null && cat /tmp/key; }
denied() { aws s3api get-object --bucket payroll --key salaries.txt /dev/null; }
