import type { CommandName, Flag } from './cli/program.ts';
import type { Setting } from './setting.ts';
import { flagOf, isDefaulted, isRequired, SETTINGS, type SettingKey, settingsOf } from './settings.ts';

/** The flags of a command as its help shows them. */
export function flagsOf(command: CommandName): readonly Flag[] {
  return settingsOf(command).map((key) => {
    const { placeholder, short, help }: Setting<unknown> = SETTINGS[key];
    const note = noteOf(key, command);
    return { flag: flagOf(key), short, placeholder, help: note === undefined ? help : `${help} (${note})` };
  });
}

function noteOf(key: SettingKey, command: CommandName): string | undefined {
  const { placeholder, fallback, fallbackHelp }: Setting<unknown> = SETTINGS[key];
  if (placeholder === undefined || !isDefaulted(key, command)) return undefined;
  const words = isRequired(key, command) ? fallbackHelp?.required : fallbackHelp?.optional;
  const shown = typeof fallback === 'string' ? fallback : words;
  if (shown !== undefined) return `default: ${shown}`;
  return isRequired(key, command) ? 'required' : undefined;
}
