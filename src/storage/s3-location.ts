/** A prefix of a bucket. */
export interface S3Location {
  readonly bucket: string;
  /** Without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string;
}

/** What may be said about a bucket beside its name; what is left out comes from where the AWS SDK takes it. */
export interface S3Options {
  /** Of a compatible server, `https://minio.storage:9000`. */
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
  /** `https://host/bucket/key` instead of `https://bucket.host/key`; on with an endpoint. */
  readonly pathStyle: boolean | undefined;
  /** Encryption at rest. */
  readonly sse: 'AES256' | 'aws:kms' | 'aws:kms:dsse' | undefined;
  readonly kmsKeyId: string | undefined;
  readonly storageClass: StorageClass | undefined;
}

export const STORAGE_CLASSES = [
  'STANDARD',
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER_IR',
  'EXPRESS_ONEZONE',
  'REDUCED_REDUNDANCY',
] as const;
export type StorageClass = (typeof STORAGE_CLASSES)[number];
