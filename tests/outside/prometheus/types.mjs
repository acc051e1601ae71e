// Writes each dashboard as a TypeScript value of Grafana's own types, for `tsc` to find keys and words that are none.
//   node types.mjs DASHBOARDS_FOLDER OUT_FOLDER
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, out] = process.argv.slice(2);
const raw = '@grafana/schema/dist/esm/raw/composable';
const KINDS = {
  timeseries: `${raw}/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen`,
  stat: `${raw}/stat/panelcfg/x/StatPanelCfg_types.gen`,
  'state-timeline': `${raw}/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen`,
};
const HAS_OWN_FIELDS = ['timeseries', 'state-timeline'];

// JSON holds the words of Grafana's enums as texts.
const head = `import type { Dashboard, DataQuery, DataSourceRef } from '@grafana/schema';
type Plain<T> = unknown extends T ? any : T extends string ? \`\${T}\` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : { [K in keyof T]: Plain<T[K]> };
// As its Prometheus plugin reads a query; the schema package has no type of it.
interface PromQuery extends Pick<DataQuery, 'refId' | 'hide'> {
  datasource: DataSourceRef; editorMode: 'code' | 'builder'; expr: string; legendFormat: string; range: boolean; instant: boolean;
}
`;

let dashboards = 0;
let panels = 0;
for (const file of readdirSync(folder).filter((name) => name.endsWith('.json')).sort()) {
  const dashboard = JSON.parse(readFileSync(join(folder, file), 'utf8'));
  let text = head;
  const kinds = Object.keys(KINDS);
  kinds.forEach((kind, index) => {
    const names = HAS_OWN_FIELDS.includes(kind) ? `Options as O${index}, FieldConfig as F${index}` : `Options as O${index}`;
    text += `import type { ${names} } from '${KINDS[kind]}';\n`;
  });
  text += `export const dashboard: Plain<Dashboard> = ${JSON.stringify(dashboard)};\n`;
  for (const panel of dashboard.panels.filter((one) => one.type !== 'row')) {
    const index = kinds.indexOf(panel.type);
    if (index < 0) throw new Error(`${file}: panel ${panel.id} is of a kind nobody checks: ${panel.type}`);
    panels += 1;
    text += `export const options${panel.id}: Plain<Partial<O${index}>> = ${JSON.stringify(panel.options)};\n`;
    text += `export const targets${panel.id}: PromQuery[] = ${JSON.stringify(panel.targets)};\n`;
    if (HAS_OWN_FIELDS.includes(panel.type)) {
      text += `export const fields${panel.id}: Plain<F${index}> = ${JSON.stringify(panel.fieldConfig.defaults.custom)};\n`;
    }
  }
  writeFileSync(join(out, file.replace('.json', '.ts')), text);
  dashboards += 1;
}
const compilerOptions = {
  strict: true, noEmit: true, skipLibCheck: true, module: 'esnext', moduleResolution: 'bundler', target: 'es2022', types: [],
};
writeFileSync(join(out, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
console.log(`typed dashboards=${dashboards} panels=${panels}`);
