# The AWS CLI: each call is a process of its own.
# shellcheck shell=sh disable=SC2148,SC2034
refusal='(AccessDenied)'
pause=8 # a process costs a second of CPU
fetch() {
  aws configure export-credentials --format process >/tmp/credentials || return 1
  sed -n 's/.*"AccessKeyId": "\([A-Z0-9]*\)".*/\1/p' /tmp/credentials | tee /tmp/key
}
use() { aws s3api get-object --bucket reports --key q3.txt /dev/null >/dev/null && cat /tmp/key; }
denied() { aws s3api get-object --bucket payroll --key salaries.txt /dev/null; }
