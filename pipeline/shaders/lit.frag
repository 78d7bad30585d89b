#version 330
// Ambient, key light with shadows, fill light, a little gloss. Colours are display colours.
uniform sampler2D image;
uniform sampler2DShadow shadow;
uniform mat4 shadow_from_world;
uniform vec3 towards_key, key_rgb, towards_fill, fill_rgb, ambient_rgb, eye;
uniform float gloss;
uniform bool shadow_only;
in vec3 at, n, base;
in vec2 st;
out vec4 colour;

float lit_share(vec3 normal) {
    vec3 s = (shadow_from_world * vec4(at + 0.012 * normal, 1.0)).xyz * 0.5 + 0.5;
    if (any(lessThan(s, vec3(0.0))) || any(greaterThan(s, vec3(1.0)))) return 1.0;
    float step = 1.2 / textureSize(shadow, 0).x;
    float total = 0.0;
    for (int i = 0; i < 4; i++)
        total += texture(shadow, vec3(s.xy + step * vec2(float(i & 1) * 2.0 - 1.0, float(i >> 1) * 2.0 - 1.0), s.z - 0.002));
    return 0.25 * total;
}

void main() {
    vec3 view = normalize(eye - at);
    vec3 normal = normalize(n);
    if (dot(normal, view) < 0.0) normal = -normal;
    float share = lit_share(normal);
    if (shadow_only) {
        colour = vec4(0.0, 0.0, 0.0, 0.5 * (1.0 - share));
        return;
    }
    vec3 albedo = base * texture(image, st).rgb;
    float key = max(0.0, 0.85 * dot(normal, towards_key) + 0.15) * share;
    float highlight = gloss * share * pow(max(0.0, dot(normal, normalize(towards_key + view))), 24.0);
    vec3 light = ambient_rgb * (0.8 + 0.2 * normal.z) + key_rgb * key + fill_rgb * max(0.0, dot(normal, towards_fill));
    colour = vec4(min(albedo * light + highlight, 1.0), 1.0);
}
