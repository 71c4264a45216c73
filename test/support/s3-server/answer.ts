import { Refusal } from './refusal.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export function emptyAnswer(status: number, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, headers, body: new Uint8Array() };
}

/** A document of one element; values are text, or elements of their own. */
export function documentAnswer(status: number, name: string, content: string): Answer {
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</${name}>`;
  return { status, headers: { 'content-type': 'application/xml' }, body: Buffer.from(text) };
}

export function refusalAnswer(error: Refusal, resource: string): Answer {
  const elements = { Code: error.code, Message: error.message, ...error.elements, Resource: resource };
  const content = Object.entries(elements).map(([name, value]) => element(name, value));
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${content.join('')}</Error>`;
  return {
    status: error.status,
    headers: { 'content-type': 'application/xml', ...error.headers },
    body: Buffer.from(text),
  };
}

export function element(name: string, text: string): string {
  return `<${name}>${text.replaceAll(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)}</${name}>`;
}
