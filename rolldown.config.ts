import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'rolldown';

// What `npm run build` makes of the JavaScript in build/ and of all packages: a few large files, which start faster than
// hundreds (docs/decisions/0017-what-a-start-and-a-restore-cost.md). Not minified: a stack names functions as the source does, and a comment
// before each part of a file says where it comes from.
export default defineConfig({
  input: 'build/main.js',
  platform: 'node',
  external: ['koffi'], // Machine code, and optional.
  // Of the AWS SDK the modules, of which what is not used can be left out; its CommonJS is loaded whole.
  resolve: { mainFields: ['module', 'main'] },
  output: {
    dir: 'dist',
    cleanDir: true,
    chunkFileNames: ({ isDynamicEntry, moduleIds }) =>
      !isDynamicEntry && moduleIds.some(isOurs) ? 'shared.js' : '[name].js',
    comments: { legal: true, annotation: false, jsdoc: false },
  },
  experimental: { attachDebugInfo: 'simple' },
  plugins: [plainHttp(), licenses()],
});

function isOurs(moduleId: string): boolean {
  return moduleId.startsWith(join(import.meta.dirname, 'build'));
}

/** As in base/http.ts: an import of node:http loads undici, which nothing here uses. */
function plainHttp(): Plugin {
  return {
    name: 'plain-http',
    renderChunk: (code) => code.replaceAll('await import("node:http")', 'process.getBuiltinModule("node:http")'),
  };
}

/** The licences of all that is in the bundle, each text once. */
function licenses(): Plugin {
  return {
    name: 'licenses',
    async generateBundle(_, bundle) {
      const modules = Object.values(bundle).flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []));
      const packages = new Set(modules.flatMap((id) => PACKAGE_OF_MODULE.exec(id)?.[0] ?? []));
      const namesByText = new Map<string, string[]>();
      for (const directory of [...packages].sort()) {
        const { name, text } = await licenseOf(directory);
        namesByText.set(text, [...(namesByText.get(text) ?? []), name]);
      }
      const source = [...namesByText].map(([text, names]) => `${names.join('\n')}\n\n${text}\n`).join('\n----\n\n');
      this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source });
    },
  };
}

const PACKAGE_OF_MODULE = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/;

async function licenseOf(directory: string): Promise<{ readonly name: string; readonly text: string }> {
  const { name, version, license }: { readonly name: string; readonly version: string; readonly license: string } =
    JSON.parse(await readFile(join(directory, 'package.json'), 'utf8'));
  const files = (await readdir(directory)).filter((file) => /^(licen[cs]e|notice)/i.test(file)).sort();
  const texts = await Promise.all(files.map((file) => readFile(join(directory, file), 'utf8')));
  return { name: `${name} ${version} (${license})`, text: texts.join('\n').trim() || `As ${license} says.` };
}
