//! What shells complete beyond what clap knows: live mount points, and the names of
//! mount options. Appended to the scripts that clap_complete makes.
#![forbid(unsafe_code)]

use crate::options::{SPECS, Spec};

/// A script of bash.
pub fn bash(generated: &str) -> String {
    let names: Vec<String> = known().map(|spec| spec.name.to_owned() + equals(spec)).collect();
    let values = SPECS.iter().filter_map(|spec| Some((spec.name, choices(spec)?)));
    let values = values.fold(String::new(), |out, (name, choices)| {
        out + &format!("                {name}) words='{choices}' ;;\n")
    });
    let more = BASH.replace("@NAMES@", &names.join(" ")).replace("@VALUES@", &values);
    format!("{generated}{more}")
}

/// A script of zsh.
pub fn zsh(generated: &str) -> String {
    let options = known().fold(String::new(), |out, spec| {
        let value = match (choices(spec), spec.value) {
            (Some(choices), _) => format!(":value:({choices})"),
            (None, Some("DIR")) => ":directory:_files -/".to_owned(),
            (None, Some("FILE")) => ":file:_files".to_owned(),
            (None, Some(what)) if what.starts_with('[') => "::value: ".to_owned(),
            (None, Some(_)) => ":value: ".to_owned(),
            (None, None) => String::new(),
        };
        out + &format!("        '{}[{}]{value}' \\\n", spec.name, summary(spec))
    });
    let more = ZSH.replace("@OPTIONS@", options.trim_end_matches("\\\n"));
    let after = "autoload -U is-at-least\n";
    generated
        .replacen(after, &format!("{after}{more}"), 1)
        .replace(":OPTIONS:_default", ":OPTIONS:_mini_fo_options")
        .replace(":mountpoints -- The mount points:_files -/", ":mount point:_mini_fo_mountpoints")
}

/// A script of fish.
pub fn fish(generated: &str) -> String {
    let options = known().fold(String::new(), |out, spec| {
        let values = choices(spec).unwrap_or_default();
        values.split(' ').fold(out, |out, value| {
            let (name, equals, help) = (spec.name, equals(spec), summary(spec));
            out + &format!("    printf '%b\\n' '{name}{equals}{value}\\t{help}'\n")
        })
    });
    format!("{generated}{}", FISH.replace("@OPTIONS@", &options))
}

fn known() -> impl Iterator<Item = &'static Spec> {
    SPECS.iter().filter(|spec| !spec.help.is_empty())
}

/// What stands after the name of an option that needs a value.
fn equals(spec: &Spec) -> &'static str {
    if spec.value.is_some_and(|value| !value.starts_with('[')) { "=" } else { "" }
}

/// The values of an option that knows a few, separated by blanks.
fn choices(spec: &Spec) -> Option<String> {
    spec.value.filter(|value| value.contains('|')).map(|value| value.replace('|', " "))
}

/// The beginning of the help, without what means something to a shell.
fn summary(spec: &Spec) -> String {
    let end = spec.help.find([':', ';', '(']).or_else(|| spec.help.find(". "));
    let text = spec.help.get(..end.unwrap_or(spec.help.len())).unwrap_or_default();
    text.trim_end_matches([' ', ',', '.']).replace(['\'', '[', ']', '\\', '%'], "")
}

const BASH: &str = r##"
# Live mount points.
_mini_fo_mountpoints() {
    local point rest
    while read -r _ _ _ _ point rest; do
        # Blanks and the like are written \ooo.
        [[ $rest == *' - fuse.mini_fo '* ]] && printf '%b\n' "${point//\\/\\0}"
    done </proc/self/mountinfo
}

# The list that stands after -o, into `list`: bash breaks words at = and : too.
_mini_fo_option_list() {
    local at=$COMP_CWORD
    list=${COMP_WORDS[at]}
    while ((at > 2)) && [[ ${COMP_WORDS[at]} == [=:]* || ${COMP_WORDS[at - 1]} == *[=:] ]]; do
        at=$((at - 1))
        list=${COMP_WORDS[at]}$list
    done
    case $list in
        --options=*) list=${list#*=} ;;
        -o?*) list=${list#-o} ;;
        *) [[ ${COMP_WORDS[at - 1]} == -o || ${COMP_WORDS[at - 1]} == --options ]] ;;
    esac
}

_mini_fo_more() {
    local cur=${COMP_WORDS[COMP_CWORD]} list last value words point
    if [[ ${COMP_WORDS[1]} == umount && $cur != -* ]]; then
        COMPREPLY=()
        while IFS= read -r point; do
            [[ $point == "$cur"* ]] && COMPREPLY+=("$point")
        done < <(_mini_fo_mountpoints)
        compopt -o filenames 2>/dev/null
        return 0
    fi
    if [[ ${COMP_WORDS[1]} == mount ]] && _mini_fo_option_list; then
        last=${list##*,}
        [[ $cur == [=:] ]] && cur=
        if [[ $last == *=* ]]; then
            value=${last#*=}
            words=
            case ${last%%=*} in
@VALUES@                base | sto | storage | log)
                    COMPREPLY=($(compgen -f -P "${cur%"$value"}" -- "$value"))
                    compopt -o nospace 2>/dev/null
                    return 0
                    ;;
            esac
            COMPREPLY=($(compgen -W "$words" -P "${cur%"$value"}" -- "$value"))
            return 0
        fi
        words='@NAMES@'
        COMPREPLY=($(compgen -W "$words" -P "${cur%"$last"}" -- "$last"))
        compopt -o nospace 2>/dev/null
        return 0
    fi
    _mini_fo "$@"
}

complete -F _mini_fo_more -o bashdefault -o default mini_fo
"##;

const ZSH: &str = r##"
# Live mount points; blanks and the like are written \ooo.
_mini_fo_mountpoints() {
    local -a points
    local line
    for line in ${(f)"$(</proc/self/mountinfo)"}; do
        [[ $line == *' - fuse.mini_fo '* ]] || continue
        points+=("$(printf '%b' "${${line[(w)5]}//\\/\\0}")")
    done
    compadd -f -a points
}

_mini_fo_options() {
    _values -s , 'mount option' \
@OPTIONS@
}

"##;

const FISH: &str = r##"
# Live mount points; blanks and the like are written \ooo.
function __mini_fo_mountpoints
    for line in (string match -e ' - fuse.mini_fo ' </proc/self/mountinfo)
        printf '%b\n' (string replace -a '\\' '\\0' -- (string split ' ' -- $line)[5])
    end
end

function __mini_fo_options
@OPTIONS@end

complete -c mini_fo -n "__fish_mini_fo_using_subcommand umount" -f -a "(__mini_fo_mountpoints)"
complete -c mini_fo -n "__fish_mini_fo_using_subcommand mount" -s o -l options -x -a "(__fish_complete_list , __mini_fo_options)"
"##;
