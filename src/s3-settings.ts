import type { Setting } from './setting.ts';
import { choice, endpoint, mapped, matching, path } from './setting-decoders.ts';
import { STORAGE_CLASSES } from './storage/s3-location.ts';

/** What belongs to a `--destination` that is a bucket. */
export const S3_SETTINGS = {
  s3Endpoint: {
    placeholder: 'URL',
    decode: endpoint,
    alsoFrom: ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'],
    fallbackHelp: { optional: 'AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else AWS itself' },
    help: 'of a server that is compatible with S3',
  },
  s3Region: {
    placeholder: 'REGION',
    decode: matching(/^[a-z0-9][a-z0-9-]{0,62}$/, 'is not the name of a region such as eu-central-1'),
    alsoFrom: ['AWS_REGION', 'AWS_DEFAULT_REGION'],
    fallbackHelp: { optional: 'AWS_REGION, else what the AWS profile says, else us-east-1 with an endpoint' },
    help: 'of the bucket',
  },
  s3PathStyle: {
    placeholder: 'BOOL',
    decode: mapped(choice('true', 'false'), (word) => word === 'true'),
    fallbackHelp: { optional: 'true with an endpoint' },
    help: 'true: the bucket stands in the path, not in the host name',
  },
  s3CaFile: {
    placeholder: 'FILE',
    decode: path,
    alsoFrom: ['AWS_CA_BUNDLE'],
    fallbackHelp: { optional: 'AWS_CA_BUNDLE' },
    help: "certificates (PEM) that are trusted beside the system's own",
  },
  s3Sse: {
    placeholder: 'WORD',
    decode: choice('AES256', 'aws:kms', 'aws:kms:dsse'),
    fallbackHelp: { optional: "the bucket's own" },
    help: 'encryption at rest that the store must confirm: AES256, aws:kms or aws:kms:dsse',
  },
  s3KmsKeyId: {
    placeholder: 'KEY',
    decode: matching(/^[\w:/+=,.@-]{1,2048}$/, 'is not the id or ARN of a key'),
    fallbackHelp: { optional: "the account's own" },
    help: 'the key for --s3-sse aws:kms',
  },
  s3StorageClass: {
    placeholder: 'CLASS',
    decode: choice(...STORAGE_CLASSES),
    fallbackHelp: { optional: 'STANDARD' },
    help: 'of the objects; those that must be thawed before they can be read are refused',
  },
} as const satisfies Record<string, Setting<unknown>>;

/** Taken by every command that takes `--destination`. */
export const S3_SETTING_KEYS = [
  's3Endpoint',
  's3Region',
  's3PathStyle',
  's3CaFile',
  's3Sse',
  's3KmsKeyId',
  's3StorageClass',
] as const satisfies readonly (keyof typeof S3_SETTINGS)[];
