#!/bin/sh
# Users of the broker who may what they must, exchanges and queues, and the bucket. May be run again: what is there stays.
set -eu

call() { # METHOD PATH BODY: of the broker's management API
  printf '%s' "$3" | curl -sS --fail-with-body --retry 30 --retry-delay 2 --retry-all-errors -o /dev/null -u "admin:$ADMIN_PASSWORD" -X "$1" \
    -H 'content-type: application/json' --data-binary @- "$BROKER/api/$2"
}

user() { # NAME PASSWORD TAGS CONFIGURE WRITE READ (docs/operator.md#least-privilege)
  call PUT "users/$1" "{\"password\": \"$2\", \"tags\": \"$3\"}"
  call PUT "permissions/$VHOST/$1" "{\"configure\": \"$4\", \"write\": \"$5\", \"read\": \"$6\"}"
  echo "user $1"
}

call POST "definitions/$VHOST" "$(cat "$(dirname "$0")/definitions.json")"
echo 'exchanges and queues'
user worker "$WORKER_PASSWORD" '' '^$' '^banshi\\.(events|retry\\..+|dlx|replies|status)$' '^banshi\\.jobs\\..+$'
user console "$CONSOLE_PASSWORD" management '^banshi\\.status\\..+$' '^banshi\\.status\\..+$' \
  '^banshi\\.(events\\.log|status|status\\..+|jobs\\..+|retry\\..+|dead|unrouted)$'
user sender "$SENDER_PASSWORD" '' '^$' '^banshi\\.jobs$' '^$'

empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 # of no bytes
s3() { # METHOD [OPTION..]: the answer's status
  method=$1
  shift
  curl -sS --retry 30 --retry-delay 2 --retry-connrefused -o /dev/null -w '%{http_code}' "$@" --aws-sigv4 aws:amz:us-east-1:s3 \
    --user "$STORE_USER:$STORE_PASSWORD" -H "x-amz-content-sha256: $empty" -X "$method" "$STORE/$BUCKET"
}
case $(s3 GET) in
  200) ;;
  *)
    answer=$(s3 PUT)
    [ "$answer" = 200 ] || { echo "the bucket $BUCKET could not be made: $answer" >&2 && exit 1; }
    ;;
esac
echo "bucket $BUCKET"
