#!/bin/sh
# Makes the certificates in local-aws/fixtures with OpenSSL. The private keys are thrown away.
#
# Usage: scripts/make-certificates.sh
set -eu
cd "$(dirname "$0")/../local-aws/fixtures"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

crl='crlDistributionPoints = URI:http://amzn-s3-demo-crl-bucket.s3.us-east-1.amazonaws.com/crl/11223344-1234-1122-2233-112233445566.crl'
partition='crlDistributionPoints = URI:http://amzn-s3-demo-crl-bucket.s3.us-east-1.amazonaws.com/crl/11223344-1234-1122-2233-112233445566/0f1e2d3c4b5a.crl'
ocsp='authorityInfoAccess = OCSP;URI:http://ocsp.acm-pca.us-east-1.amazonaws.com'

for key in ca a b; do
  openssl ecparam -name prime256v1 -genkey -noout -out "$work/$key.key"
done
openssl req -x509 -new -key "$work/ca.key" -sha256 -days 3650 -out ca.pem \
  -subj '/C=US/O=Example Company/CN=Example Root CA' \
  -addext 'keyUsage = critical, keyCertSign, cRLSign'

# make KEY NAME [EXTENSION...]
make() {
  key=$1 name=$2
  shift 2
  {
    echo 'basicConstraints = critical, CA:FALSE'
    echo 'keyUsage = critical, digitalSignature'
    echo 'extendedKeyUsage = serverAuth, clientAuth'
    for extension in "$@"; do echo "$extension"; done
  } >"$work/extensions"
  openssl req -new -key "$work/$key.key" -out "$work/request" \
    -subj '/C=US/ST=Washington/L=Seattle/O=Example Company/OU=Sales/CN=www.example.com'
  openssl x509 -req -in "$work/request" -CA ca.pem -CAkey "$work/ca.key" -sha256 -days 365 \
    -set_serial "0x40$(openssl rand -hex 15)" -extfile "$work/extensions" -out "$name.pem"
}

for key in a b; do
  make $key key-$key-crl "$crl"
  make $key key-$key-ocsp "$ocsp"
  make $key key-$key-both "$crl" "$ocsp"
  make $key key-$key-neither
done
make a key-a-renewed "$crl"
make a key-a-partitioned "$partition"
